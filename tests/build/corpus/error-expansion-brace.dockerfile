FROM scratch
LABEL a=${A
