FROM scratch
EXPOSE ${NONE:-80 443/udp}
