/* `load MODE NAME=VALUE..`: prints lines of JSON, the last of each turn with its figures; ends with 2 if something was
 * lost, repeated or out of order, or if the server did anything else that it should not. */
#include "load.h"

#include <signal.h>
#include <string.h>

int main(int count, char **arguments) {
    if (count < 2) wrong("which mode? arrive, fan, writes or polls");
    signal(SIGPIPE, SIG_IGN);
    options_read(count - 2, arguments + 2);
    if (strcmp(arguments[1], "polls") == 0) {
        polls();
        return 0;
    }
    sockets_load(option("scripts", NULL));
    if (strcmp(arguments[1], "arrive") == 0)
        arrive();
    else if (strcmp(arguments[1], "fan") == 0)
        fan();
    else if (strcmp(arguments[1], "writes") == 0)
        writes();
    else
        wrong("there is no mode %s", arguments[1]);
    return 0;
}
