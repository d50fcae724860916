FROM scratch
RUN <<E
echo
