FROM scratch
xyzzy
