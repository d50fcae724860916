FROM scratch
COPY ["a b", "/x/"]
COPY a* [b-d]? \*x /y/
