#include "data/tokenizer/marked_text.h"

#include <stdlib.h>
#include <string.h>

mla_status mla_bytes_append(mla_context *context, mla_bytes *out, const char *bytes, int64_t length) {
    const mla_status status = mla_grow(context, &out->bytes, &out->capacity, out->count + length, 1, "a text");
    if (status || !length) return status;
    memcpy(out->bytes + out->count, bytes, (size_t)length);
    out->count += length;
    return MLA_OK;
}

mla_status mla_marked_copy(mla_context *context, mla_marked_buffer *out, const mla_marked_text *text, int64_t begin,
                           int64_t end) {
    const mla_status status = mla_bytes_append(context, &out->bytes, text->bytes + begin, end - begin);
    if (status || !text->marks) return status;
    return mla_bytes_append(context, &out->marks, text->marks + begin, end - begin);
}

mla_status mla_marked_replace(mla_context *context, mla_marked_buffer *out, const mla_marked_text *text, int64_t begin,
                              int64_t end, const char *bytes, int64_t length) {
    mla_bytes *marks = &out->marks;
    mla_status status = mla_bytes_append(context, &out->bytes, bytes, length);
    if (status || !text->marks || !length) return status;
    status = mla_grow(context, &marks->bytes, &marks->capacity, marks->count + length, 1, "normalized text");
    if (status) return status;
    memset(marks->bytes + marks->count, mla_marked_any(text, begin, end), (size_t)length);
    marks->count += length;
    return MLA_OK;
}

bool mla_marked_any(const mla_marked_text *text, int64_t begin, int64_t end) {
    return text->marks && end > begin && memchr(text->marks + begin, 1, (size_t)(end - begin));
}

mla_marked_text mla_marked_part(const mla_marked_text *text, int64_t begin, int64_t end) {
    return (mla_marked_text){
        .bytes = text->bytes + begin, .marks = text->marks ? text->marks + begin : NULL, .length = end - begin};
}

mla_marked_text mla_marked_buffer_text(const mla_marked_buffer *buffer, bool marks) {
    return (mla_marked_text){
        .bytes = buffer->bytes.bytes, .marks = marks ? buffer->marks.bytes : NULL, .length = buffer->bytes.count};
}

void mla_marked_buffer_clear(mla_marked_buffer *buffer) { buffer->bytes.count = buffer->marks.count = 0; }

void mla_marked_buffer_free(mla_marked_buffer *buffer) {
    free(buffer->bytes.bytes);
    free(buffer->marks.bytes);
}
