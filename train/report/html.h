/* A page of HTML by itself: no script, no other file, no request to anywhere; light or dark as the reader's system is.
 * Texts are escaped. Errors of writing stay with the stream (ferror). */
#ifndef MLA_TRAIN_REPORT_HTML_H
#define MLA_TRAIN_REPORT_HTML_H

#include "train/log/gnuplot.h"

#include <stdio.h>

void mla_html_begin(FILE *page, const char *title);
void mla_html_end(FILE *page);

void mla_html_text(FILE *page, const char *text);
/* <tag>text</tag> */
void mla_html_element(FILE *page, const char *tag, const char *text);
/* A table; where the page is too narrow for it, it moves under its first column. */
void mla_html_table_begin(FILE *page);
void mla_html_table_end(FILE *page);
/* A row of it, whose first cell is a heading. */
void mla_html_row(FILE *page, const char *heading, const char *const *cells, int count);
/* A text with what it begins with set apart; all its lines and spaces count. */
void mla_html_sample(FILE *page, const char *prompt, const char *text);
/* A text of many lines that is folded away until it is asked for. */
void mla_html_details(FILE *page, const char *summary, const char *text);
/* The same picture as SVG for white pages and for black ones. */
void mla_html_picture(FILE *page, const char *description, const mla_picture_bytes *light,
                      const mla_picture_bytes *dark);

#endif
