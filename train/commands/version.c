#include "train/commands/version.h"
#include "autograd/kernels/gemm.h"
#include "data/formats/h5.h"
#include "train/commands/output.h"
#include "train/distributed/comm.h"
#include "train/run/machine.h"

#include <string.h>

typedef struct {
    const char *name, *key;
    bool (*has)(void);
} feature;

static const feature features[] = {{"AVX2", "avx2", mla_gemm_has_avx2},
                                   {"AVX-512", "avx512", mla_gemm_has_avx512},
                                   {"bf16", "bf16", mla_gemm_has_bf16},
                                   {"AMX", "amx", mla_gemm_has_amx}};
enum { FEATURES = sizeof features / sizeof *features };

const char *mla_version(void) { return MLA_VERSION; }

/* "" where it was not built from a repository. */
static const char *commit(void) { return MLA_COMMIT; }

const char *mla_version_and_commit(void) { return *commit() ? MLA_VERSION ", commit " MLA_COMMIT : MLA_VERSION; }

static const char *chosen_precision(void) { return mla_dtype_name(mla_gemm_has_bf16() ? MLA_BF16 : MLA_F32); }

static void version_print_json(FILE *out) {
    json_t *json = json_object(), *processor = json_object();
    json_object_set_new(json, "version", json_string(mla_version()));
    json_object_set_new(json, "commit", *commit() ? json_string(commit()) : json_null());
    json_object_set_new(json, "onednn", json_string(strchr(mla_gemm_library(), ' ') + 1));
    json_object_set_new(json, "hdf5", json_string(strchr(mla_h5_library(), ' ') + 1));
    json_object_set_new(json, "mpi", json_string(mla_comm_library()));
    for (int i = 0; i < FEATURES; i++) json_object_set_new(processor, features[i].key, json_boolean(features[i].has()));
    json_object_set_new(json, "processor", processor);
    json_object_set_new(json, "auto_precision", json_string(chosen_precision()));
    mla_output_print(out, json);
}

void mla_version_print(FILE *out, bool json) {
    if (json) {
        version_print_json(out);
        return;
    }
    fprintf(out, "mla %s\n", mla_version_and_commit());
    fprintf(out, "%s, %s, %s\nprocessor: ", mla_gemm_library(), mla_h5_library(), mla_comm_library());
    for (int i = 0; i < FEATURES; i++)
        fprintf(out, "%s%s%s", i ? ", " : "", features[i].has() ? "" : "no ", features[i].name);
    fprintf(out, "; train.precision=auto is %s\n", chosen_precision());
}
