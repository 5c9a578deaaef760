#include "autograd/base/few_names.h"

#include <stdio.h>
#include <string.h>

enum { NAMED = 4 };

void mla_few_names_add(mla_few_names *list, const char *name) {
    const size_t used = strlen(list->text);
    if (list->count < NAMED) snprintf(list->text + used, sizeof list->text - used, "%s%.120s", used ? ", " : "", name);
    if (list->count == NAMED) snprintf(list->text + used, sizeof list->text - used, ", ...");
    list->count++;
}
