#include "data/labels/csv.h"

#include <inttypes.h>
#include <stdlib.h>

static mla_status put(mla_context *context, mla_csv_record *r, char byte) {
    const mla_status status = mla_grow(context, &r->bytes, &r->byte_capacity, r->byte_count + 1, 1, "a record");
    if (!status) r->bytes[r->byte_count++] = byte;
    return status;
}

static mla_status end_field(mla_context *context, mla_csv_record *r) {
    mla_status status = put(context, r, '\0');
    if (!status)
        status = mla_grow(context, &r->offsets, &r->offset_capacity, r->count + 2, sizeof *r->offsets, "a record");
    if (!status) r->offsets[++r->count] = r->byte_count;
    return status;
}

static bool at_line_end(const mla_csv_reader *in) {
    return in->at < in->end && (*in->at == '\n' || (*in->at == '\r' && in->at + 1 < in->end && in->at[1] == '\n'));
}

static bool at_field_end(const mla_csv_reader *in) {
    return in->at >= in->end || *in->at == in->separator || at_line_end(in);
}

static void skip_line_end(mla_csv_reader *in) {
    if (*in->at == '\r') in->at++;
    in->at++;
    in->line++;
}

static mla_status take_quoted(mla_context *context, const char *file, mla_csv_reader *in, mla_csv_record *out) {
    const int64_t begin = in->line;
    mla_status status = MLA_OK;
    for (in->at++; in->at < in->end && !status; in->at++) {
        if (*in->at == '"' && (in->at + 1 >= in->end || in->at[1] != '"')) break;
        if (*in->at == '"') in->at++;
        in->line += *in->at == '\n';
        status = put(context, out, *in->at);
    }
    if (status) return status;
    if (in->at >= in->end)
        return mla_fail(context, MLA_ERROR_FORMAT, "%s:%" PRId64 ": the quote that begins a field here never ends",
                        file, begin);
    in->at++;
    if (at_field_end(in)) return MLA_OK;
    return mla_fail(context, MLA_ERROR_FORMAT,
                    "%s:%" PRId64 ": text behind a quoted field, which begins in line %" PRId64
                    "; a quote inside of one is written twice",
                    file, in->line, begin);
}

static mla_status take_field(mla_context *context, const char *file, mla_csv_reader *in, mla_csv_record *out) {
    mla_status status = MLA_OK;
    if (in->at < in->end && *in->at == '"') status = take_quoted(context, file, in, out);
    while (!status && !at_field_end(in)) status = put(context, out, *in->at++);
    return status ? status : end_field(context, out);
}

mla_status mla_csv_next(mla_context *context, const char *file, mla_csv_reader *in, mla_csv_record *out) {
    out->count = out->byte_count = 0;
    while (at_line_end(in)) skip_line_end(in);
    mla_status status = mla_grow(context, &out->offsets, &out->offset_capacity, 1, sizeof *out->offsets, "a record");
    if (status || in->at >= in->end) return status;
    out->offsets[0] = 0;
    for (;;) {
        status = take_field(context, file, in, out);
        if (status || in->at >= in->end || *in->at != in->separator) break;
        in->at++;
    }
    if (!status && at_line_end(in)) skip_line_end(in);
    return status;
}

void mla_csv_free(mla_csv_record *record) {
    free(record->bytes);
    free(record->offsets);
    *record = (mla_csv_record){0};
}
