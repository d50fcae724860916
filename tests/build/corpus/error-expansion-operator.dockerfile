FROM scratch
LABEL a=${A=x}
