FROM scratch
RUN <<E
echo
  E
RUN x
