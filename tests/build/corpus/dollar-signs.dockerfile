FROM scratch
ENV A=\$HOME B='$HOME' C="$HOME" D=$ E="a$" F=$$ G=${PATH}
LABEL cost=5$ esc="\"" tick=`date`
