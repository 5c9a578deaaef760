#include "train/report/html.h"
#include "autograd/base/utf8.h"

#include <stdlib.h>
#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--text:#1c1c1c;--page:#fff;--line:#d8d8d8;--pale:#666}\n"
    "@media(prefers-color-scheme:dark){:root{--text:#e4e4e4;--page:#161616;--line:#3c3c3c;--pale:#a0a0a0}}\n"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);max-width:76rem;margin:0 auto;"
    "padding:1.5rem}\n"
    "h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.2rem}p.note{color:var(--pale)}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse}th,td{padding:.3rem .8rem;border-bottom:1px solid var(--line);"
    "text-align:right;white-space:nowrap}th:first-child{text-align:left}\n"
    ".pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem}\n"
    "figure{margin:0;max-width:60rem}img{width:100%;height:auto}pre{overflow-x:auto;padding:.8rem;border:1px solid var(--line);"
    "white-space:pre-wrap;overflow-wrap:anywhere}summary{cursor:pointer}\n"
    "@media print{body{max-width:none;padding:0}figure,table{break-inside:avoid}}\n";

void mla_html_begin(FILE *page, const char *title) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n",
          page);
    mla_html_element(page, "title", title);
    fprintf(page, "<style>\n%s</style></head>\n<body>\n", style);
    mla_html_element(page, "h1", title);
}

void mla_html_end(FILE *page) { fputs("</body></html>\n", page); }

static void write_escaped(FILE *page, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '&') fputs("&amp;", page);
        else if (c == '<') fputs("&lt;", page);
        else if (c == '>') fputs("&gt;", page);
        else if (c == '"') fputs("&quot;", page);
        else fputc(c < ' ' && c != '\n' && c != '\t' ? '?' : c, page);
    }
}

/* What is no UTF-8, in names of files for example, becomes U+FFFD. */
void mla_html_text(FILE *page, const char *text) {
    const int64_t length = (int64_t)strlen(text);
    char *repaired = malloc((size_t)length * 3 + 1);
    if (repaired) write_escaped(page, repaired, (size_t)mla_utf8_repair(text, length, false, repaired));
    free(repaired);
}

void mla_html_element(FILE *page, const char *tag, const char *text) {
    fprintf(page, "<%s>", tag);
    mla_html_text(page, text);
    fprintf(page, "</%s>\n", tag);
}

void mla_html_row(FILE *page, const char *heading, const char *const *cells, int count) {
    fputs("<tr>", page);
    mla_html_element(page, "th", heading);
    for (int i = 0; i < count; i++) mla_html_element(page, "td", cells[i]);
    fputs("</tr>\n", page);
}

void mla_html_details(FILE *page, const char *summary, const char *text) {
    fputs("<details>", page);
    mla_html_element(page, "summary", summary);
    mla_html_element(page, "pre", text);
    fputs("</details>\n", page);
}

/* RFC 4648. */
static void write_base64(FILE *page, const mla_picture_bytes *image) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int64_t i = 0; i < image->length; i += 3) {
        const int64_t left = image->length - i;
        const unsigned char *x = (const unsigned char *)image->bytes + i;
        const unsigned bits = (unsigned)x[0] << 16 | (left > 1 ? (unsigned)x[1] << 8 : 0) | (left > 2 ? x[2] : 0);
        fputc(digits[bits >> 18], page);
        fputc(digits[bits >> 12 & 63], page);
        fputc(left > 1 ? digits[bits >> 6 & 63] : '=', page);
        fputc(left > 2 ? digits[bits & 63] : '=', page);
    }
}

void mla_html_picture(FILE *page, const char *description, const mla_picture_bytes *light,
                      const mla_picture_bytes *dark) {
    fputs("<figure><picture><source media=\"(prefers-color-scheme: dark)\" srcset=\"data:image/svg+xml;base64,", page);
    write_base64(page, dark);
    fputs("\"><img src=\"data:image/svg+xml;base64,", page);
    write_base64(page, light);
    fputs("\" alt=\"", page);
    mla_html_text(page, description);
    fputs("\"></picture></figure>\n", page);
}
