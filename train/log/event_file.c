#include "train/log/event_file.h"

#include <errno.h>
#include <event.pb-c.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct mla_event_file {
    mla_context *context;
    int descriptor;
    char *path;
};

static mla_status events_failed(mla_context *context, const char *action, const char *path) {
    return mla_fail(context, MLA_ERROR_IO, "cannot %s %s: %s", action, path, strerror(errno));
}

/* ---- the frame: length (8 bytes), its checksum (4), the message, its checksum (4); little-endian */

enum { HEAD = 12, TAIL = 4, LONGEST = 1 << 24 };

static void put(uint8_t *out, uint64_t value, int size) {
    for (int i = 0; i < size; i++) out[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *bytes, int size) {
    uint64_t value = 0;
    for (int i = size - 1; i >= 0; i--) value = value << 8 | bytes[i];
    return value;
}

/* CRC-32C (RFC 3720, appendix B.4), a bit at a time: records are short. Masked, for checksums may be summed again. */
static uint32_t checksum(const uint8_t *bytes, size_t count) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static size_t frame_message(const Mla__Event *event, size_t length, uint8_t *out) {
    put(out, length, 8);
    put(out + 8, checksum(out, 8), 4);
    mla__event__pack(event, out + HEAD);
    put(out + HEAD + length, checksum(out + HEAD, length), TAIL);
    return HEAD + length + TAIL;
}

/* ---- writing */

static mla_status write_event(mla_event_file *file, const Mla__Event *event) {
    const size_t length = mla__event__get_packed_size(event);
    uint8_t *frame = mla_alloc(file->context, (int64_t)length + HEAD + TAIL, 1, "an event");
    if (!frame) return MLA_ERROR_MEMORY;
    const size_t size = frame_message(event, length, frame);
    const off_t before = lseek(file->descriptor, 0, SEEK_END);
    const ssize_t written = write(file->descriptor, frame, size);
    free(frame);
    if (written == (ssize_t)size) return MLA_OK;
    if (written >= 0) errno = ENOSPC; /* a part is written only where there is no more room */
    const mla_status status = events_failed(file->context, "write", file->path);
    if (ftruncate(file->descriptor, before)) return status; /* what is torn is cut when the run is resumed */
    return status;
}

static Mla__Event event_at(mla_event_time time) {
    Mla__Event event = MLA__EVENT__INIT;
    event.has_wall_time = true;
    event.has_step = time.step != 0; /* proto3 leaves zeros out */
    event.wall_time = time.wall_time;
    event.step = time.step;
    return event;
}

/* The record that every file begins with. */
static mla_status write_version(mla_event_file *file, double wall_time) {
    char version[] = "brain.Event:2";
    Mla__Event event = event_at((mla_event_time){wall_time, 0});
    event.file_version = version;
    return write_event(file, &event);
}

mla_status mla_event_file_create(mla_context *context, mla_event_file **out, const char *path, double wall_time) {
    mla_event_file *file = *out = mla_alloc(context, 1, sizeof *file, "an event file");
    if (!file) return MLA_ERROR_MEMORY;
    mla_status status = MLA_OK;
    *file = (mla_event_file){context, open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666),
                             strdup(path)};
    if (!file->path) status = mla_fail(context, MLA_ERROR_MEMORY, "no memory for a path");
    else if (file->descriptor < 0) status = events_failed(context, "make", path);
    else status = write_version(file, wall_time);
    if (!status) return MLA_OK;
    mla_event_file_close(file);
    *out = NULL;
    return status;
}

void mla_event_file_close(mla_event_file *file) {
    if (!file) return;
    if (file->descriptor >= 0) close(file->descriptor);
    free(file->path);
    free(file);
}

mla_status mla_event_file_begin(mla_event_file *file, mla_event_time time) {
    Mla__SessionLog log = MLA__SESSION_LOG__INIT;
    Mla__Event event = event_at(time);
    log.has_status = true;
    log.status = MLA__SESSION_LOG__SESSION_STATUS__START;
    event.session_log = &log;
    return write_event(file, &event);
}

static mla_status write_summary(mla_event_file *file, mla_event_time time, Mla__Summary__Value **values, int count) {
    Mla__Summary summary = MLA__SUMMARY__INIT;
    Mla__Event event = event_at(time);
    summary.n_value = (size_t)count;
    summary.value = values;
    event.summary = &summary;
    return write_event(file, &event);
}

mla_status mla_event_file_scalars(mla_event_file *file, mla_event_time time, const mla_scalar *scalars, int count) {
    Mla__Summary__Value *values = mla_alloc(file->context, count, sizeof *values, "an event");
    Mla__Summary__Value **pointers = mla_alloc(file->context, count, sizeof *pointers, "an event");
    mla_status status = values && pointers ? MLA_OK : MLA_ERROR_MEMORY;
    for (int i = 0; i < count && !status; i++) {
        mla__summary__value__init(&values[i]);
        values[i].tag = (char *)(uintptr_t)scalars[i].tag;
        values[i].has_simple_value = true;
        values[i].simple_value = scalars[i].value;
        pointers[i] = &values[i];
    }
    if (!status) status = write_summary(file, time, pointers, count);
    free(values), free(pointers);
    return status;
}

/* A tensor of one string, which the plugin of that name shows. */
mla_status mla_event_file_text(mla_event_file *file, mla_event_time time, const char *tag, const char *text) {
    char plugin_name[] = "text";
    Mla__Metadata__PluginData plugin = MLA__METADATA__PLUGIN_DATA__INIT;
    Mla__Metadata metadata = MLA__METADATA__INIT;
    Mla__Tensor__Shape__Dimension one = MLA__TENSOR__SHAPE__DIMENSION__INIT;
    Mla__Tensor__Shape shape = MLA__TENSOR__SHAPE__INIT;
    Mla__Tensor tensor = MLA__TENSOR__INIT;
    Mla__Summary__Value value = MLA__SUMMARY__VALUE__INIT;
    ProtobufCBinaryData string = {strlen(text), (uint8_t *)(uintptr_t)text};
    plugin.plugin_name = plugin_name;
    metadata.plugin_data = &plugin;
    one.has_size = tensor.has_dtype = true;
    one.size = 1;
    shape.n_dim = tensor.n_string_val = 1;
    shape.dim = (Mla__Tensor__Shape__Dimension *[]){&one};
    tensor.dtype = MLA__TENSOR__TYPE__STRING;
    tensor.tensor_shape = &shape;
    tensor.string_val = &string;
    value.tag = (char *)(uintptr_t)tag;
    value.metadata = &metadata;
    value.tensor = &tensor;
    return write_summary(file, time, (Mla__Summary__Value *[]){&value}, 1);
}

/* ---- reading, to cut */

/* The next message; NULL at the end, and where what follows is no whole record. free() the bytes in *frame. */
static Mla__Event *read_event(FILE *file, uint8_t **frame) {
    uint8_t head[HEAD];
    if (fread(head, 1, HEAD, file) != HEAD || get(head + 8, 4) != checksum(head, 8)) return NULL;
    const uint64_t length = get(head, 8);
    if (length > LONGEST) return NULL;
    uint8_t *grown = realloc(*frame, length + TAIL);
    if (!grown) return NULL;
    *frame = grown;
    if (fread(grown, 1, length + TAIL, file) != length + TAIL) return NULL;
    return get(grown + length, TAIL) == checksum(grown, length) ? mla__event__unpack(NULL, length, grown) : NULL;
}

/* Bytes of the records up to `step`; *last is the last step among them that has values. */
static off_t kept_bytes(FILE *file, int64_t step, int64_t *last) {
    off_t kept = 0;
    uint8_t *frame = NULL;
    Mla__Event *event;
    bool good = true;
    *last = 0;
    while (good && (event = read_event(file, &frame))) {
        good = event->step <= step;
        if (good) kept = ftello(file);
        if (good && event->summary && event->step > *last) *last = event->step;
        mla__event__free_unpacked(event, NULL);
    }
    free(frame);
    return kept;
}

mla_status mla_event_file_cut(mla_context *context, const char *path, int64_t step, int64_t *last) {
    FILE *file = fopen(path, "r+e");
    *last = 0;
    if (!file) return events_failed(context, "open", path);
    const off_t kept = kept_bytes(file, step, last);
    mla_status status = ferror(file) ? events_failed(context, "read", path) : MLA_OK;
    if (!status && (*last ? ftruncate(fileno(file), kept) : unlink(path))) status = events_failed(context, "cut", path);
    fclose(file);
    return status;
}
