/* A number as a line of text. */
#ifndef REPORT_H
#define REPORT_H

#include "port.h"

static void report(const char *name, uint32_t value) {
    char digits[12];
    int32_t at = 11;
    digits[at] = '\0';
    do {
        at--;
        digits[at] = (char)('0' + (char)(value % 10u));
        value /= 10u;
    } while (value > 0u);
    port_text(name);
    port_text(" ");
    port_text(&digits[at]);
    port_text("\n");
}

#endif
