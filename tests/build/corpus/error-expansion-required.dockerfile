FROM scratch
ARG A
WORKDIR /${A:?give a folder}
