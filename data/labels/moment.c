#include "data/labels/moment.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Takes so many digits, of a number from `least` to `most`. */
static bool take_digits(const char **at, int digits, int least, int most, int *out) {
    *out = 0;
    for (int i = 0; i < digits; i++) {
        if (!isdigit((unsigned char)**at)) return false;
        *out = 10 * *out + *(*at)++ - '0';
    }
    return *out >= least && *out <= most;
}

static bool take_byte(const char **at, const char *any) {
    if (!**at || !strchr(any, **at)) return false;
    ++*at;
    return true;
}

/* Days from 1970-01-01, in the Gregorian calendar: years begin with March, so that a leap day is their last. */
static long days_of(int year, int month, int day) {
    const long y = month > 2 ? year : year - 1, m = month > 2 ? month - 3 : month + 9;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static bool take_date(const char **at, long *days) {
    static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (!take_digits(at, 4, 1, 9999, &year) || !take_byte(at, "-") || !take_digits(at, 2, 1, 12, &month) ||
        !take_byte(at, "-") || !take_digits(at, 2, 1, lengths[month - 1], &day))
        return false;
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    *days = days_of(year, month, day);
    return leap || month != 2 || day < 29;
}

/* hh:mm, hh:mm:ss, hh:mm:ss.ffff */
static bool take_clock(const char **at, mla_moment *m) {
    int hour, minute, second = 0;
    if (!take_digits(at, 2, 0, 24, &hour) || !take_byte(at, ":") || !take_digits(at, 2, 0, 59, &minute)) return false;
    if (take_byte(at, ":") && !take_digits(at, 2, 0, 60, &second)) return false;
    m->whole += (hour * 60 + minute) * 60 + second;
    if (!take_byte(at, ".,")) return true;
    if (!isdigit((unsigned char)**at)) return false;
    for (double unit = 0.1; isdigit((unsigned char)**at); unit /= 10) m->part += unit * (*(*at)++ - '0');
    return true;
}

/* Z, +hh:mm, +hhmm, +hh; nothing. */
static bool take_zone(const char **at, mla_moment *m) {
    int hours, minutes = 0;
    if (!**at) return true;
    m->kind = MLA_MOMENT_ZONED;
    if (take_byte(at, "Zz")) return true;
    const int sign = **at == '-' ? -1 : 1;
    if (!take_byte(at, "+-") || !take_digits(at, 2, 0, 23, &hours)) return false;
    if ((take_byte(at, ":") || **at) && !take_digits(at, 2, 0, 59, &minutes)) return false;
    m->whole -= sign * (hours * 60 + minutes) * 60;
    return true;
}

static mla_moment read_time(const char *text) {
    long days;
    if (!take_date(&text, &days)) return (mla_moment){0};
    mla_moment m = {MLA_MOMENT_LOCAL, (int64_t)days * 86400, 0};
    const bool has_clock = take_byte(&text, "T ");
    if (has_clock && !take_clock(&text, &m)) return (mla_moment){0};
    return (!has_clock || take_zone(&text, &m)) && !*text ? m : (mla_moment){0};
}

/* Whole ones of 64 bits exactly, others as doubles. */
static bool read_number(const char *text, mla_moment *out) {
    char *end;
    errno = 0;
    const long long whole = strtoll(text, &end, 10);
    *out = (mla_moment){MLA_MOMENT_NUMBER, whole, 0};
    if (end != text && !*end && !errno) return true;
    const double number = strtod(text, &end), below = floor(number);
    if (end == text || *end) return false;
    const bool inside = fabs(number) < 0x1p63;
    if (!isfinite(number)) *out = (mla_moment){0};
    else if (inside) *out = (mla_moment){MLA_MOMENT_NUMBER, (int64_t)below, number - below};
    else *out = (mla_moment){MLA_MOMENT_NUMBER, number > 0 ? INT64_MAX : INT64_MIN, number};
    return true;
}

mla_moment mla_moment_read(const char *text) {
    mla_moment m;
    if (!*text || !strchr("+-.0123456789", *text)) return (mla_moment){0};
    return read_number(text, &m) ? m : read_time(text);
}

int mla_moment_compare(const mla_moment *a, const mla_moment *b) {
    if (a->whole != b->whole) return a->whole > b->whole ? 1 : -1;
    return (a->part > b->part) - (a->part < b->part);
}
