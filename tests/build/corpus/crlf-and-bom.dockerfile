FROM scratch
RUN one \
  two
COPY <<E /x
line
E
ENV A=b
