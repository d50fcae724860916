FROM scratch
COPY --chmod=u+x a b
