#include "autograd/kernels/gemm.h"
#include "autograd/kernels/gemm_widened.h"

#include <oneapi/dnnl/dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What one thread needs to run a plan; oneDNN's memory objects hold a pointer, so threads cannot share them. */
typedef struct {
    dnnl_memory_t a, b, c, bias, scratch;
    dnnl_stream_t stream;
    void *scratch_data;
    int64_t runs;
} handles;

typedef struct packing packing;

struct mla_gemm {
    mla_context *context;
    mla_gemm_shape shape;
    dnnl_primitive_t primitive;
    handles *slots; /* one, or one per thread */
    int slot_count;
    packing *packing;     /* with b_packed */
    mla_widened *widened; /* for bf16 where the processor has none: all the rest stays empty */
};

typedef struct {
    dnnl_engine_t engine;
    mla_gemm **plans; /* open addressing by the shape's hash; NULL: free */
    int64_t count, capacity;
    mla_widening_room room;
} cache;

/* ---- the two versions of oneDNN's interface ---- */

typedef dnnl_memory_desc_t descriptor;

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t queried;
static dnnl_status_t describe_any(descriptor *d, int ndim, const dnnl_dims_t dims, dnnl_data_type_t type) {
    return dnnl_memory_desc_create_with_tag(d, ndim, dims, type, dnnl_format_tag_any);
}
static dnnl_status_t copy_descriptor(descriptor *d, queried from) { return dnnl_memory_desc_clone(d, from); }
static queried pointer_to(const descriptor *d) { return *d; }
static dnnl_status_t describe(descriptor *d, int ndim, const dnnl_dims_t dims, dnnl_data_type_t type,
                              const dnnl_dims_t strides) {
    return dnnl_memory_desc_create_with_strides(d, ndim, dims, type, strides);
}
static dnnl_status_t make_memory(dnnl_memory_t *memory, const descriptor *d, dnnl_engine_t engine) {
    return dnnl_memory_create(memory, *d, engine, DNNL_MEMORY_NONE);
}
static void forget(descriptor *d) {
    if (*d) dnnl_memory_desc_destroy(*d);
}
static dnnl_status_t add_to_destination(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}
static dnnl_status_t describe_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const descriptor *a,
                                     const descriptor *b, const descriptor *bias, const descriptor *c,
                                     dnnl_primitive_attr_t attributes) {
    return dnnl_matmul_primitive_desc_create(out, engine, *a, *b, bias ? *bias : NULL, *c, attributes);
}
#else
typedef const dnnl_memory_desc_t *queried;
static dnnl_status_t describe_any(descriptor *d, int ndim, const dnnl_dims_t dims, dnnl_data_type_t type) {
    return dnnl_memory_desc_init_by_tag(d, ndim, dims, type, dnnl_format_tag_any);
}
static dnnl_status_t copy_descriptor(descriptor *d, queried from) {
    *d = *from;
    return dnnl_success;
}
static queried pointer_to(const descriptor *d) { return d; }
static dnnl_status_t describe(descriptor *d, int ndim, const dnnl_dims_t dims, dnnl_data_type_t type,
                              const dnnl_dims_t strides) {
    return dnnl_memory_desc_init_by_strides(d, ndim, dims, type, strides);
}
static dnnl_status_t make_memory(dnnl_memory_t *memory, const descriptor *d, dnnl_engine_t engine) {
    return dnnl_memory_create(memory, d, engine, DNNL_MEMORY_NONE);
}
static void forget(descriptor *d) { (void)d; }
static dnnl_status_t add_to_destination(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1.0f); }
static dnnl_status_t describe_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const descriptor *a,
                                     const descriptor *b, const descriptor *bias, const descriptor *c,
                                     dnnl_primitive_attr_t attributes) {
    dnnl_matmul_desc_t matmul;
    dnnl_status_t status = dnnl_matmul_desc_init(&matmul, a, b, bias, c);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &matmul, attributes, engine, NULL) : status;
}
#endif

static int64_t scratch_bytes(const_dnnl_primitive_desc_t d) {
    return (int64_t)dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(d, dnnl_query_scratchpad_md, 0));
}
static dnnl_status_t make_scratch(dnnl_memory_t *memory, const_dnnl_primitive_desc_t d, dnnl_engine_t engine) {
    return dnnl_memory_create(memory, dnnl_primitive_desc_query_md(d, dnnl_query_scratchpad_md, 0), engine,
                              DNNL_MEMORY_NONE);
}

const char *mla_gemm_library(void) {
    static char name[32];
    const dnnl_version_t *version = dnnl_version();
    snprintf(name, sizeof name, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    return name;
}

static bool has(unsigned features) { return ((unsigned)dnnl_get_effective_cpu_isa() & features) == features; }
bool mla_gemm_has_bf16(void) { return has(dnnl_cpu_isa_avx512_core_bf16); }
bool mla_gemm_has_amx(void) { return has(dnnl_cpu_isa_avx512_core_amx); }
mla_dtype mla_gemm_intermediate(mla_dtype type) { return mla_gemm_has_bf16() ? type : MLA_F32; }

int64_t mla_gemm_usual_bytes(void) { return has(dnnl_cpu_isa_avx512_core) ? 16 << 20 : 4 << 20; }

/* ---- threads ---- */

/* oneDNN lays a primitive out for the number of threads that OpenMP has for the caller when it is made, and asks for it
 * again when it runs: each time it is that of the plan, and then again what it was. Returns what it was. */
static int set_threads(int threads) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    return before;
}

static int threads_of(const mla_gemm *gemm) {
    return gemm->shape.single_thread ? 1 : mla_context_threads(gemm->context);
}

/* ---- planning ---- */

static dnnl_data_type_t data_type(mla_dtype type) { return type == MLA_BF16 ? dnnl_bf16 : dnnl_f32; }

/* A (rows,columns) matrix that may be stored transposed with `ld` elements from stored row to stored row. */
static dnnl_status_t describe_matrix(descriptor *d, int64_t rows, int64_t columns, bool transposed, int64_t ld,
                                     mla_dtype type) {
    const dnnl_dims_t dims = {rows, columns};
    if (!ld) ld = transposed ? rows : columns;
    const dnnl_dims_t strides = {transposed ? 1 : ld, transposed ? ld : 1};
    return describe(d, 2, dims, data_type(type), strides);
}

static dnnl_status_t make_attributes(dnnl_primitive_attr_t *out, bool accumulate) {
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(out);
    if (!status) status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (!status && accumulate) {
        status = dnnl_post_ops_create(&ops);
        if (!status) status = add_to_destination(ops);
        if (!status) status = dnnl_primitive_attr_set_post_ops(*out, ops);
        dnnl_post_ops_destroy(ops);
    }
    return status;
}

static dnnl_status_t make_handles(handles *h, const_dnnl_primitive_desc_t matmul, dnnl_engine_t engine,
                                  const descriptor *a, const descriptor *b, const descriptor *c,
                                  const descriptor *bias) {
    const int64_t bytes = scratch_bytes(matmul);
    dnnl_status_t status = dnnl_stream_create(&h->stream, engine, dnnl_stream_default_flags);
    if (!status) status = make_memory(&h->a, a, engine);
    if (!status) status = make_memory(&h->b, b, engine);
    if (!status) status = make_memory(&h->c, c, engine);
    if (!status && bias) status = make_memory(&h->bias, bias, engine);
    if (!status && bytes) {
        if (posix_memalign(&h->scratch_data, 64, (size_t)bytes)) return dnnl_out_of_memory;
        status = make_scratch(&h->scratch, matmul, engine);
        if (!status) status = dnnl_memory_set_data_handle(h->scratch, h->scratch_data);
    }
    return status;
}

/* How B comes into the layout that a product was planned for. */
struct packing {
    descriptor layout;
    dnnl_primitive_t reorder;
    dnnl_memory_t from, to;
};

static dnnl_status_t make_packing(packing *p, const mla_gemm_shape *s, const_dnnl_primitive_desc_t matmul,
                                  dnnl_engine_t engine) {
    descriptor plain = {0};
    dnnl_primitive_desc_t reorder = NULL;
    dnnl_status_t status = copy_descriptor(&p->layout, dnnl_primitive_desc_query_md(matmul, dnnl_query_weights_md, 0));
    if (!status) status = describe_matrix(&plain, s->k, s->n, s->b_transposed, s->ldb, s->b_type);
    if (!status)
        status = dnnl_reorder_primitive_desc_create(&reorder, pointer_to(&plain), engine, pointer_to(&p->layout),
                                                    engine, NULL);
    if (!status) status = dnnl_primitive_create(&p->reorder, reorder);
    if (!status) status = make_memory(&p->from, &plain, engine);
    if (!status) status = make_memory(&p->to, &p->layout, engine);
    if (reorder) dnnl_primitive_desc_destroy(reorder);
    forget(&plain);
    return status;
}

static void destroy_packing(packing *p) {
    if (!p) return;
    if (p->from) dnnl_memory_destroy(p->from);
    if (p->to) dnnl_memory_destroy(p->to);
    if (p->reorder) dnnl_primitive_destroy(p->reorder);
    forget(&p->layout);
    free(p);
}

static dnnl_status_t describe_b(const mla_gemm_shape *s, descriptor *b) {
    const dnnl_dims_t dims = {s->k, s->n};
    return s->b_packed ? describe_any(b, 2, dims, data_type(s->b_type))
                       : describe_matrix(b, s->k, s->n, s->b_transposed, s->ldb, s->b_type);
}

static dnnl_status_t make_primitive(mla_gemm *gemm, dnnl_engine_t engine) {
    const mla_gemm_shape *s = &gemm->shape;
    descriptor a = {0}, b = {0}, c = {0}, bias = {0};
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t matmul = NULL;
    const dnnl_dims_t bias_dims = {1, s->n}, bias_strides = {s->n, 1};
    dnnl_status_t status = describe_matrix(&a, s->m, s->k, s->a_transposed, s->lda, s->a_type);
    if (!status) status = describe_b(s, &b);
    if (!status) status = describe_matrix(&c, s->m, s->n, false, s->ldc, s->c_type);
    if (!status && s->bias) status = describe(&bias, 2, bias_dims, dnnl_f32, bias_strides);
    if (!status) status = make_attributes(&attributes, s->accumulate);
    if (!status) status = describe_matmul(&matmul, engine, &a, &b, s->bias ? &bias : NULL, &c, attributes);
    if (!status) status = dnnl_primitive_create(&gemm->primitive, matmul);
    if (!status && s->b_packed) status = make_packing(gemm->packing, s, matmul, engine);
    for (int i = 0; i < gemm->slot_count && !status; i++)
        status = make_handles(&gemm->slots[i], matmul, engine, &a, s->b_packed ? &gemm->packing->layout : &b, &c,
                              s->bias ? &bias : NULL);
    if (matmul) dnnl_primitive_desc_destroy(matmul);
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    forget(&a);
    forget(&b);
    forget(&c);
    if (s->bias) forget(&bias);
    return status;
}

static void destroy_plan(mla_gemm *gemm) {
    if (!gemm) return;
    for (int i = 0; i < gemm->slot_count && gemm->slots; i++) {
        handles *h = &gemm->slots[i];
        dnnl_memory_t memories[] = {h->a, h->b, h->c, h->bias, h->scratch};
        for (size_t k = 0; k < sizeof memories / sizeof *memories; k++)
            if (memories[k]) dnnl_memory_destroy(memories[k]);
        if (h->stream) dnnl_stream_destroy(h->stream);
        free(h->scratch_data);
    }
    if (gemm->primitive) dnnl_primitive_destroy(gemm->primitive);
    destroy_packing(gemm->packing);
    mla_widened_destroy(gemm->widened);
    free(gemm->slots);
    free(gemm);
}

static bool widens(const mla_gemm_shape *shape) {
    return (shape->a_type == MLA_BF16 || shape->b_type == MLA_BF16) && !mla_gemm_has_bf16();
}

static mla_gemm *make_plan(mla_context *context, cache *c, const mla_gemm_shape *shape) {
    mla_gemm *gemm = mla_alloc(context, 1, sizeof *gemm, "a matrix product");
    if (!gemm) return NULL;
    gemm->context = context;
    gemm->shape = *shape;
    if (widens(shape)) {
        if ((gemm->widened = mla_widened_create(context, &c->room, shape))) return gemm;
        destroy_plan(gemm);
        return NULL;
    }
    gemm->slot_count = shape->single_thread ? mla_context_threads(context) : 1;
    gemm->slots = mla_alloc(context, gemm->slot_count, sizeof *gemm->slots, "a matrix product");
    if (shape->b_packed) gemm->packing = mla_alloc(context, 1, sizeof *gemm->packing, "a matrix product");
    const bool complete = gemm->slots && (gemm->packing || !shape->b_packed);
    const int before = set_threads(threads_of(gemm));
    const dnnl_status_t status = complete ? make_primitive(gemm, c->engine) : dnnl_out_of_memory;
    set_threads(before);
    if (status == dnnl_success) return gemm;
    mla_fail(context, MLA_ERROR_LIBRARY, "%s cannot multiply (%lld,%lld) %s by (%lld,%lld) %s (its status %d)",
             mla_gemm_library(), (long long)shape->m, (long long)shape->k, mla_dtype_name(shape->a_type),
             (long long)shape->k, (long long)shape->n, mla_dtype_name(shape->b_type), (int)status);
    destroy_plan(gemm);
    return NULL;
}

/* ---- the cache ---- */

static void destroy_cache(void *attached) {
    cache *c = attached;
    for (int64_t i = 0; i < c->capacity; i++) destroy_plan(c->plans[i]);
    if (c->engine) dnnl_engine_destroy(c->engine);
    mla_widening_room_free(&c->room);
    free(c->plans);
    free(c);
}

static cache *cache_of(mla_context *context) {
    cache *c = mla_context_attached(context, destroy_cache);
    if (c) return c;
    c = mla_alloc(context, 1, sizeof *c, "the cache of matrix products");
    if (!c) return NULL;
    if (dnnl_engine_create(&c->engine, dnnl_cpu, 0) != dnnl_success)
        mla_fail(context, MLA_ERROR_LIBRARY, "%s has no CPU engine here", mla_gemm_library());
    else if (!mla_context_attach(context, c, destroy_cache)) return c;
    destroy_cache(c);
    return NULL;
}

static bool same_shape(const mla_gemm_shape *a, const mla_gemm_shape *b) {
    return a->m == b->m && a->n == b->n && a->k == b->k && a->a_transposed == b->a_transposed &&
           a->b_transposed == b->b_transposed && a->lda == b->lda && a->ldb == b->ldb && a->ldc == b->ldc &&
           a->a_type == b->a_type && a->b_type == b->b_type && a->c_type == b->c_type &&
           a->accumulate == b->accumulate && a->bias == b->bias && a->single_thread == b->single_thread &&
           a->b_packed == b->b_packed;
}

static uint64_t hash_of(const mla_gemm_shape *s) {
    const int64_t parts[] = {s->m, s->n, s->k, s->lda, s->ldb, s->ldc,
                             s->a_transposed | s->b_transposed << 1 | s->accumulate << 2 | s->bias << 3 |
                                 s->single_thread << 4 | (int)s->a_type << 5 | (int)s->c_type << 7 | s->b_packed << 9};
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) hash = (hash ^ (uint64_t)parts[i]) * 1099511628211u;
    return hash ^ hash >> 29;
}

static mla_gemm **find_slot(mla_gemm **plans, int64_t capacity, const mla_gemm_shape *shape) {
    int64_t i = (int64_t)(hash_of(shape) % (uint64_t)capacity);
    while (plans[i] && !same_shape(&plans[i]->shape, shape)) i = (i + 1) % capacity;
    return &plans[i];
}

static bool make_room(mla_context *context, cache *c) {
    if (2 * (c->count + 1) <= c->capacity) return true;
    const int64_t capacity = c->capacity ? 2 * c->capacity : 64;
    mla_gemm **plans = mla_alloc(context, capacity, sizeof(mla_gemm *), "the cache of matrix products");
    if (!plans) return false;
    for (int64_t i = 0; i < c->capacity; i++)
        if (c->plans[i]) *find_slot(plans, capacity, &c->plans[i]->shape) = c->plans[i];
    free(c->plans);
    c->plans = plans;
    c->capacity = capacity;
    return true;
}

const mla_gemm *mla_gemm_plan(mla_context *context, const mla_gemm_shape *shape) {
    if (shape->m < 1 || shape->n < 1 || shape->k < 1) {
        mla_fail(context, MLA_ERROR_SHAPE, "a matrix product of (%lld,%lld) by (%lld,%lld): sizes must be at least 1",
                 (long long)shape->m, (long long)shape->k, (long long)shape->k, (long long)shape->n);
        return NULL;
    }
    cache *c = cache_of(context);
    mla_gemm **slot = c && c->capacity ? find_slot(c->plans, c->capacity, shape) : NULL;
    if (slot && *slot) return *slot;
    mla_gemm *plan = c ? make_plan(context, c, shape) : NULL; /* may plan others */
    if (!plan || !make_room(context, c)) {
        destroy_plan(plan);
        return NULL;
    }
    c->count++;
    return *find_slot(c->plans, c->capacity, shape) = plan;
}

/* ---- running ---- */

/* Runs a primitive of the plan; `what` is for an error. */
static void execute(const mla_gemm *gemm, const_dnnl_primitive_t primitive, dnnl_stream_t stream, int count,
                    const dnnl_exec_arg_t *args, const char *what) {
    const int before = set_threads(threads_of(gemm));
    const dnnl_status_t status = dnnl_primitive_execute(primitive, stream, count, args);
    set_threads(before);
    if (status != dnnl_success)
        mla_fail(gemm->context, MLA_ERROR_LIBRARY, "%s failed in %s (its status %d)", mla_gemm_library(), what,
                 (int)status);
}

static void bind(dnnl_exec_arg_t *args, int *count, int kind, dnnl_memory_t memory, const void *data) {
    if (data) dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)data);
    args[(*count)++] = (dnnl_exec_arg_t){kind, memory};
}

void mla_gemm_run(const mla_gemm *gemm, const void *a, const void *b, void *c, const float *bias) {
    if (gemm->widened) {
        mla_widened_run(gemm->widened, a, b, c, bias);
        return;
    }
    handles *h = &gemm->slots[gemm->shape.single_thread ? omp_get_thread_num() : 0];
    h->runs++;
    dnnl_exec_arg_t args[5];
    int count = 0;
    bind(args, &count, DNNL_ARG_SRC, h->a, a);
    bind(args, &count, DNNL_ARG_WEIGHTS, h->b, b);
    bind(args, &count, DNNL_ARG_DST, h->c, c);
    if (gemm->shape.bias) bind(args, &count, DNNL_ARG_BIAS, h->bias, bias);
    if (h->scratch) bind(args, &count, DNNL_ARG_SCRATCHPAD, h->scratch, NULL);
    execute(gemm, gemm->primitive, h->stream, count, args, "a matrix product");
}

int64_t mla_gemm_packed_bytes(const mla_gemm *gemm) {
    return (int64_t)dnnl_memory_desc_get_size(pointer_to(&gemm->packing->layout));
}

struct mla_gemm_layout {
    descriptor of_b;
};

mla_gemm_layout *mla_gemm_layout_of(const mla_gemm *gemm) {
    mla_gemm_layout *layout = mla_alloc(gemm->context, 1, sizeof *layout, "the layout of a packed matrix");
    if (!layout || copy_descriptor(&layout->of_b, pointer_to(&gemm->packing->layout)) == dnnl_success) return layout;
    mla_fail(gemm->context, MLA_ERROR_MEMORY, "no memory for the layout of a packed matrix");
    free(layout);
    return NULL;
}

void mla_gemm_layout_free(mla_gemm_layout *layout) {
    if (layout) forget(&layout->of_b);
    free(layout);
}

bool mla_gemm_takes(const mla_gemm *gemm, const mla_gemm_layout *layout) {
    return dnnl_memory_desc_equal(pointer_to(&gemm->packing->layout), pointer_to(&layout->of_b));
}

void mla_gemm_pack(const mla_gemm *gemm, const void *b, void *packed) {
    dnnl_exec_arg_t args[2];
    int count = 0;
    bind(args, &count, DNNL_ARG_FROM, gemm->packing->from, b);
    bind(args, &count, DNNL_ARG_TO, gemm->packing->to, packed);
    execute(gemm, gemm->packing->reorder, gemm->slots[0].stream, count, args, "packing a matrix");
}

void mla_gemm_now(mla_context *context, const mla_gemm_shape *shape, const void *a, const void *b, void *c,
                  const float *bias) {
    const mla_gemm *gemm = mla_gemm_plan(context, shape);
    if (gemm) mla_gemm_run(gemm, a, b, c, bias);
}

void mla_gemm_each(mla_context *context, void (*visit)(void *user, const mla_gemm *gemm, const mla_gemm_shape *shape,
                                                       int64_t runs), void *user) {
    const cache *c = mla_context_attached(context, destroy_cache);
    for (int64_t i = 0; c && i < c->capacity; i++) {
        const mla_gemm *gemm = c->plans[i];
        int64_t runs = 0;
        for (int k = 0; gemm && k < gemm->slot_count; k++) runs += gemm->slots[k].runs;
        if (gemm && !gemm->widened) visit(user, gemm, &gemm->shape, runs);
    }
}
