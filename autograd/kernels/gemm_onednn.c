#include "autograd/kernels/gemm_onednn.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>

/* What one thread needs to run a product; oneDNN's memory objects hold a pointer, so threads cannot share them. */
typedef struct {
    dnnl_memory_t a, b, c, bias, scratch;
    dnnl_stream_t stream;
    void *scratch_data;
    int64_t runs;
} handles;

typedef struct packing packing;

struct mla_onednn {
    mla_context *context;
    mla_gemm_shape shape;
    dnnl_primitive_t primitive;
    handles *slots; /* one, or one per thread */
    int slot_count;
    packing *packing; /* with b_packed */
};

/* ---- the two versions of oneDNN's interface ---- */

typedef dnnl_memory_desc_t descriptor;

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t queried;
static dnnl_status_t describe_any(descriptor *d, int ndim, const dnnl_dims_t dims, dnnl_data_type_t type) {
    return dnnl_memory_desc_create_with_tag(d, ndim, dims, type, dnnl_format_tag_any);
}
static dnnl_status_t copy_descriptor(descriptor *d, queried from) { return dnnl_memory_desc_clone(d, from); }
static queried pointer_to(const descriptor *d) { return *d; }
static dnnl_status_t gemm_onednn_describe(descriptor *d, int ndim, const dnnl_dims_t dims, dnnl_data_type_t type,
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
static dnnl_status_t gemm_onednn_describe(descriptor *d, int ndim, const dnnl_dims_t dims, dnnl_data_type_t type,
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

/* ---- the library ---- */

const char *mla_onednn_name(void) {
    static char name[32];
    const dnnl_version_t *version = dnnl_version();
    snprintf(name, sizeof name, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    return name;
}

static bool has(unsigned features) { return ((unsigned)dnnl_get_effective_cpu_isa() & features) == features; }
bool mla_onednn_has_avx2(void) { return has(dnnl_cpu_isa_avx2); }
bool mla_onednn_has_avx512(void) { return has(dnnl_cpu_isa_avx512_core); }
bool mla_onednn_has_bf16(void) { return has(dnnl_cpu_isa_avx512_core_bf16); }
bool mla_onednn_has_amx(void) { return has(dnnl_cpu_isa_avx512_core_amx); }

mla_onednn_engine *mla_onednn_engine_create(mla_context *context) {
    dnnl_engine_t engine = NULL;
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) == dnnl_success) return engine;
    mla_fail(context, MLA_ERROR_LIBRARY, "%s has no CPU engine here", mla_onednn_name());
    return NULL;
}

void mla_onednn_engine_destroy(mla_onednn_engine *engine) {
    if (engine) dnnl_engine_destroy(engine);
}

/* ---- threads ---- */

/* oneDNN lays a primitive out for the number of threads that OpenMP has for the caller when it is made, and asks for it
 * again when it runs: each time it is that of the product, and then again what it was. Returns what it was. */
static int set_threads(int threads) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    return before;
}

static int threads_of(const mla_onednn *product) {
    return product->shape.single_thread ? 1 : mla_context_threads(product->context);
}

/* ---- laying out ---- */

static dnnl_data_type_t data_type(mla_dtype type) { return type == MLA_BF16 ? dnnl_bf16 : dnnl_f32; }

/* A (rows,columns) matrix that may be stored transposed with `ld` elements from stored row to stored row. */
static dnnl_status_t describe_matrix(descriptor *d, int64_t rows, int64_t columns, bool transposed, int64_t ld,
                                     mla_dtype type) {
    const dnnl_dims_t dims = {rows, columns};
    if (!ld) ld = transposed ? rows : columns;
    const dnnl_dims_t strides = {transposed ? 1 : ld, transposed ? ld : 1};
    return gemm_onednn_describe(d, 2, dims, data_type(type), strides);
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

/* How B comes into the layout that a product is laid out for. */
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

static dnnl_status_t make_primitive(mla_onednn *product, dnnl_engine_t engine) {
    const mla_gemm_shape *s = &product->shape;
    descriptor a = {0}, b = {0}, c = {0}, bias = {0};
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t matmul = NULL;
    const dnnl_dims_t bias_dims = {1, s->n}, bias_strides = {s->n, 1};
    dnnl_status_t status = describe_matrix(&a, s->m, s->k, s->a_transposed, s->lda, s->a_type);
    if (!status) status = describe_b(s, &b);
    if (!status) status = describe_matrix(&c, s->m, s->n, false, s->ldc, s->c_type);
    if (!status && s->bias) status = gemm_onednn_describe(&bias, 2, bias_dims, dnnl_f32, bias_strides);
    if (!status) status = make_attributes(&attributes, s->accumulate);
    if (!status) status = describe_matmul(&matmul, engine, &a, &b, s->bias ? &bias : NULL, &c, attributes);
    if (!status) status = dnnl_primitive_create(&product->primitive, matmul);
    if (!status && s->b_packed) status = make_packing(product->packing, s, matmul, engine);
    for (int i = 0; i < product->slot_count && !status; i++)
        status = make_handles(&product->slots[i], matmul, engine, &a, s->b_packed ? &product->packing->layout : &b, &c,
                              s->bias ? &bias : NULL);
    if (matmul) dnnl_primitive_desc_destroy(matmul);
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    forget(&a);
    forget(&b);
    forget(&c);
    if (s->bias) forget(&bias);
    return status;
}

void mla_onednn_destroy(mla_onednn *product) {
    if (!product) return;
    for (int i = 0; i < product->slot_count && product->slots; i++) {
        handles *h = &product->slots[i];
        dnnl_memory_t memories[] = {h->a, h->b, h->c, h->bias, h->scratch};
        for (size_t k = 0; k < sizeof memories / sizeof *memories; k++)
            if (memories[k]) dnnl_memory_destroy(memories[k]);
        if (h->stream) dnnl_stream_destroy(h->stream);
        free(h->scratch_data);
    }
    if (product->primitive) dnnl_primitive_destroy(product->primitive);
    destroy_packing(product->packing);
    free(product->slots);
    free(product);
}

static bool gemm_onednn_make_room(mla_onednn *product) {
    const mla_gemm_shape *s = &product->shape;
    mla_context *context = product->context;
    product->slot_count = s->single_thread ? mla_context_threads(context) : 1;
    product->slots = mla_alloc(context, product->slot_count, sizeof *product->slots, "a matrix product");
    if (s->b_packed) product->packing = mla_alloc(context, 1, sizeof *product->packing, "a matrix product");
    return product->slots && (product->packing || !s->b_packed);
}

mla_onednn *mla_onednn_create(mla_context *context, mla_onednn_engine *engine, const mla_gemm_shape *s) {
    mla_onednn *product = mla_alloc(context, 1, sizeof *product, "a matrix product");
    if (!product) return NULL;
    product->context = context;
    product->shape = *s;
    const bool complete = gemm_onednn_make_room(product);
    const int before = set_threads(threads_of(product));
    const dnnl_status_t status = complete ? make_primitive(product, engine) : dnnl_out_of_memory;
    set_threads(before);
    if (status == dnnl_success) return product;
    mla_fail(context, MLA_ERROR_LIBRARY, "%s cannot multiply (%lld,%lld) %s by (%lld,%lld) %s (its status %d)",
             mla_onednn_name(), (long long)s->m, (long long)s->k, mla_dtype_name(s->a_type), (long long)s->k,
             (long long)s->n, mla_dtype_name(s->b_type), (int)status);
    mla_onednn_destroy(product);
    return NULL;
}

/* ---- running ---- */

/* Runs a primitive of the product; `what` is for an error. */
static void execute(const mla_onednn *product, const_dnnl_primitive_t primitive, dnnl_stream_t stream, int count,
                    const dnnl_exec_arg_t *args, const char *what) {
    const int before = set_threads(threads_of(product));
    const dnnl_status_t status = dnnl_primitive_execute(primitive, stream, count, args);
    set_threads(before);
    if (status != dnnl_success)
        mla_fail(product->context, MLA_ERROR_LIBRARY, "%s failed in %s (its status %d)", mla_onednn_name(), what,
                 (int)status);
}

static void bind(dnnl_exec_arg_t *args, int *count, int kind, dnnl_memory_t memory, const void *data) {
    if (data) dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)data);
    args[(*count)++] = (dnnl_exec_arg_t){kind, memory};
}

void mla_onednn_run(const mla_onednn *product, const void *a, const void *b, void *c, const float *bias) {
    handles *h = &product->slots[product->shape.single_thread ? omp_get_thread_num() : 0];
    h->runs++;
    dnnl_exec_arg_t args[5];
    int count = 0;
    bind(args, &count, DNNL_ARG_SRC, h->a, a);
    bind(args, &count, DNNL_ARG_WEIGHTS, h->b, b);
    bind(args, &count, DNNL_ARG_DST, h->c, c);
    if (product->shape.bias) bind(args, &count, DNNL_ARG_BIAS, h->bias, bias);
    if (h->scratch) bind(args, &count, DNNL_ARG_SCRATCHPAD, h->scratch, NULL);
    execute(product, product->primitive, h->stream, count, args, "a matrix product");
}

int64_t mla_onednn_runs(const mla_onednn *product) {
    int64_t runs = 0;
    for (int i = 0; i < product->slot_count; i++) runs += product->slots[i].runs;
    return runs;
}

/* ---- packing ---- */

int64_t mla_onednn_packed_bytes(const mla_onednn *product) {
    return (int64_t)dnnl_memory_desc_get_size(pointer_to(&product->packing->layout));
}

struct mla_gemm_layout {
    descriptor of_b;
};

mla_gemm_layout *mla_onednn_layout_of(const mla_onednn *product) {
    mla_gemm_layout *layout = mla_alloc(product->context, 1, sizeof *layout, "the layout of a packed matrix");
    if (!layout || copy_descriptor(&layout->of_b, pointer_to(&product->packing->layout)) == dnnl_success) return layout;
    mla_fail(product->context, MLA_ERROR_MEMORY, "no memory for the layout of a packed matrix");
    free(layout);
    return NULL;
}

void mla_onednn_layout_free(mla_gemm_layout *layout) {
    if (layout) forget(&layout->of_b);
    free(layout);
}

bool mla_onednn_takes(const mla_onednn *product, const mla_gemm_layout *layout) {
    return dnnl_memory_desc_equal(pointer_to(&product->packing->layout), pointer_to(&layout->of_b));
}

void mla_onednn_pack(const mla_onednn *product, const void *b, void *packed) {
    dnnl_exec_arg_t args[2];
    int count = 0;
    bind(args, &count, DNNL_ARG_FROM, product->packing->from, b);
    bind(args, &count, DNNL_ARG_TO, product->packing->to, packed);
    execute(product, product->packing->reorder, product->slots[0].stream, count, args, "packing a matrix");
}
