FROM scratch
WORKDIR /a
WORKDIR b
WORKDIR ../c/./d
WORKDIR /
WORKDIR e
USER app:app
WORKDIR owned
COPY x .
COPY x y/
COPY x ../z
