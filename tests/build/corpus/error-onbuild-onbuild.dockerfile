FROM scratch
ONBUILD onbuild RUN x
