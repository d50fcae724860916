FROM scratch
COPY "c d" /x/
