FROM --platform=windows/amd64 scratch
