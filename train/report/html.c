#include "train/report/html.h"
#include "autograd/base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Curves stand two in a row, pictures by themselves, for they have much to read; where the page is too narrow for their
 * letters they are moved within it, as tables are. */
static const char style[] =
    ":root{color-scheme:light dark;--text:#1f2328;--page:#fff;--line:#d1d9e0;--pale:#59636e}\n"
    "@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--page:#0d1117;--line:#30363d;--pale:#9198a1}}\n"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);max-width:76rem;margin:0 auto;"
    "padding:1.5rem}\n"
    "h1,h2,h3,summary{overflow-wrap:anywhere}h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.2rem}"
    "h3{font-size:1rem}p.note{color:var(--pale)}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse}th,td{padding:.3rem .8rem;"
    "border-bottom:1px solid var(--line);text-align:right;vertical-align:top}td{overflow-wrap:anywhere;min-width:5rem}"
    "th{text-align:left;min-width:6rem;position:sticky;left:0;background:var(--page)}\n"
    ".curves,.pictures{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr))}"
    ".pictures{grid-template-columns:minmax(0,1fr)}\n"
    "figure{margin:0;max-width:62rem;overflow-x:auto}img{display:block;width:100%;min-width:32rem;height:auto}"
    ".pictures img{min-width:48rem}\n"
    "pre{overflow-x:auto;padding:.8rem;border:1px solid var(--line);white-space:pre-wrap;overflow-wrap:anywhere}"
    "summary{cursor:pointer}\n"
    "@media print{body{max-width:none;padding:0}figure,table,pre{break-inside:avoid}img,.pictures img{min-width:0}}\n";

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

void mla_html_table_begin(FILE *page) { fputs("<div class=\"wide\"><table>\n", page); }
void mla_html_table_end(FILE *page) { fputs("</table></div>\n", page); }

void mla_html_row(FILE *page, const char *heading, const char *const *cells, int count) {
    fputs("<tr>", page);
    mla_html_element(page, "th", heading);
    for (int i = 0; i < count; i++) mla_html_element(page, "td", cells[i]);
    fputs("</tr>\n", page);
}

void mla_html_sample(FILE *page, const char *prompt, const char *text) {
    fputs("<pre><b>", page);
    mla_html_text(page, prompt);
    fputs("</b>", page);
    mla_html_text(page, text);
    fputs("</pre>\n", page);
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
