FROM scratch
ENV A="1
