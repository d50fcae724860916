FROM scratch
RUN <<EOF
set -e
echo "$HOME"
EOF
RUN <<-TABS
	echo tabs go
	  echo spaces stay
	TABS
RUN <<'#E'
echo a
#E
RUN <<SCRIPT
#!/usr/bin/env python3
print("hi")
SCRIPT
RUN cat <<one <<two > /both
1
one
2
two
RUN 3<<FD cat <&3
three
FD
RUN echo "<<not" '<<neither' $((1<<2))
