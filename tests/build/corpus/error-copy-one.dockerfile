FROM scratch
COPY only
