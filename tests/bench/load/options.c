/* Options are NAME=VALUE. */
#include "load.h"

#include <stdlib.h>
#include <string.h>

static int given;
static char **options;

void options_read(int count, char **arguments) { given = count, options = arguments; }

const char *option(const char *name, const char *otherwise) {
    size_t length = strlen(name);
    for (int i = 0; i < given; i++)
        if (strncmp(options[i], name, length) == 0 && options[i][length] == '=') return options[i] + length + 1;
    if (!otherwise) wrong("option %s=.. is missing", name);
    return otherwise;
}

double number(const char *name, double otherwise) {
    const char *text = option(name, "");
    return *text ? strtod(text, NULL) : otherwise;
}
