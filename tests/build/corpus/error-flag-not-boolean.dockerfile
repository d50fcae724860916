FROM scratch
COPY --link=perhaps a b
