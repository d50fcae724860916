FROM scratch

RUM echo
