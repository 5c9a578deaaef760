/* A family of Hugging Face's models: what its config.json says beside what all of them say, and which of its tensors
 * are which of our parameters. A new one is a row in families.c, or a file of its own with a line there. */
#ifndef MLA_TRAIN_HUGGING_FACE_FAMILIES_FAMILY_H
#define MLA_TRAIN_HUGGING_FACE_FAMILIES_FAMILY_H

#include "train/hugging_face/families/tensor_rules.h"

#include <jansson.h>

typedef struct mla_family mla_family;

/* A config.json, and what begins the messages about it. */
typedef struct {
    mla_context *context;
    const char *where;
    const json_t *json;
} mla_config_file;

/* What all families with one kind of attention have in common. Lists of keys end with NULL. */
typedef struct {
    const mla_attention_kind *kind;
    const char *const *keys;   /* of this kind, in config.json and here */
    const char *const *needed; /* those without a default that could be meant */
    mla_status (*check_experts)(const mla_config_file *file);
    /* What of a model of this kind the family has no word for, and the remedy where there is one; NULL: nothing. */
    const char *(*obstacle)(const mla_family *family, const mla_model_config *config);
    void (*write)(json_t *file, const json_t *ours); /* keys that only transformers has; or NULL */
} mla_family_attention;

enum { MLA_FAMILY_KEYS = 3 }; /* with the NULL at the end */

struct mla_family {
    const char *model_type, *architecture; /* with a language head: "LlamaForCausalLM" */
    const mla_family_attention *attention;
    bool rope_interleave;                /* where it has no such key, or the file does not say */
    bool qkv_bias, qk_norm;              /* always or never */
    int64_t head_dim;                    /* where the file does not say; 0: follows from the others */
    const char *keys[MLA_FAMILY_KEYS];   /* beside those of all, and of all with its kind of attention */
    const char *needed[MLA_FAMILY_KEYS]; /* keys whose defaults in transformers are not ours */
    bool heads_divide;                   /* it wants the heads to divide hidden_size */
    int64_t original_beside; /* RoPE's types are default and longrope, whose original length stands beside them in the
                              * file, and is this where it does not; 0: as in all other families */
    bool window_alone;       /* sliding_window decides, whatever layer_types and others say */
    bool no_tokens;          /* it has no class for a head that labels tokens */
    bool only_kept;          /* written only for a model that came from it */
    const mla_tensor_rule *rules; /* NULL: all tensors have our names and shapes */
};

/* In the order in which they are tried for a model that came from none of them. */
extern const mla_family mla_families[];
extern const int mla_family_count;

/* The endings of an architecture's name, by the head's kind: "ForCausalLM", "ForSequenceClassification", ... */
typedef struct {
    const char *ending;
    const mla_head_kind *head;
} mla_family_head;
extern const mla_family_head mla_family_heads[]; /* the last one has no ending */
/* That of a name; NULL: another. */
const mla_family_head *mla_family_head_of(const char *architecture);
/* The name with the ending of this head. */
void mla_family_architecture(const mla_family *family, const mla_head_kind *head, size_t size, char *out);

/* That of a config.json's model_type and first architecture, of which one may be absent. NULL: none. */
const mla_family *mla_family_of(const json_t *config);
bool mla_family_has_key(const mla_family *family, const char *key);

/* ---- For a family's own functions ---- */

mla_status mla_config_refuse(const mla_config_file *file, const char *key, const char *words);
/* Absent, null, false, 0 and {} all say no. */
bool mla_config_says_no(const json_t *value);
int64_t mla_config_number(const json_t *file, const char *key, int64_t otherwise);

#endif
