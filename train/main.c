/* The command `mla`: hands over to the subcommand named by its first argument. */
#include <stdio.h>

int main(void) {
    fprintf(stderr, "usage: mla COMMAND [ARGUMENT]...\n");
    return 2;
}
