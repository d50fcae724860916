FROM scratch
ENV --x=y A=b
