FROM debian as a b
