/* Packing: every document whole in one sequence, every token a target once, and what is cut or left out is counted. */
#include "data/tokens/packing.h"
#include "data/tokens/sampler.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH = 10, MOST = 4096 };

/* Token i of the stream is i; documents of `lengths` tokens. */
typedef struct {
    int32_t tokens[MOST];
    uint8_t answers[MOST];
    int64_t offsets[MOST];
    mla_token_stream stream;
} corpus;

static corpus *make_corpus(int documents, const int *lengths, bool answers) {
    corpus *c = calloc(1, sizeof *c);
    for (int i = 0; i < MOST; i++) c->tokens[i] = i;
    for (int d = 0; d < documents; d++) c->offsets[d + 1] = c->offsets[d] + lengths[d];
    assert_true(c->offsets[documents] <= MOST);
    c->stream = (mla_token_stream){.count = c->offsets[documents],
                                   .wide = c->tokens,
                                   .documents = documents,
                                   .offsets = c->offsets,
                                   .answers = answers ? c->answers : NULL};
    return c;
}

static void places_are_as_documented(void **state) {
    mla_context *context = *state;
    corpus *c = make_corpus(5, (const int[]){5, 8, 4, 23, 1}, false);
    mla_packing *p;
    int32_t ids[LENGTH], targets[LENGTH], starts[LENGTH];
    check_ok(context, mla_packing_create(context, &p, &c->stream, LENGTH));
    const mla_packing_report r = mla_packing_report_of(p);
    assert_int_equal(r.documents, 5);
    assert_int_equal(r.sequences, 4); /* 4 + 3 + 2, 7, 10, 10: the document of 1 has no target */
    assert_int_equal(r.positions, 4 + 7 + 3 + 22);
    assert_int_equal(r.targets, r.positions);
    assert_int_equal(r.cut + r.left_out, 0);
    mla_packing_get(p, 0, ids, targets,
                    starts); /* the third document fits behind the first, and the end of the fourth */
    assert_memory_equal(ids, ((int32_t[]){0, 1, 2, 3, 13, 14, 15, 37, 38, 0}), sizeof ids);
    assert_memory_equal(targets, ((int32_t[]){1, 2, 3, 4, 14, 15, 16, 38, 39, -1}), sizeof ids);
    assert_memory_equal(starts, ((int32_t[]){0, 0, 0, 0, 4, 4, 4, 7, 7, 9}), sizeof ids);
    mla_packing_get(p, 1, ids, targets, starts); /* the second, alone */
    assert_memory_equal(ids, ((int32_t[]){5, 6, 7, 8, 9, 10, 11, 0, 0, 0}), sizeof ids);
    assert_memory_equal(starts, ((int32_t[]){0, 0, 0, 0, 0, 0, 0, 7, 8, 9}), sizeof ids);
    mla_packing_get(p, 3, ids, targets, starts); /* the fourth, from where it was cut */
    assert_int_equal(ids[0], 27);
    assert_int_equal(targets[9], 37);
    mla_packing_destroy(p);
    free(c);
}

static void every_target_is_there_once(void **state) {
    mla_context *context = *state;
    int lengths[200], seen[MOST] = {0};
    int64_t expected = 0;
    for (int d = 0; d < 200; d++) expected += (lengths[d] = 1 + d * 7919 % 37) - 1;
    corpus *c = make_corpus(200, lengths, false);
    mla_packing *p, *again;
    mla_sampler sampler;
    int32_t ids[LENGTH], targets[LENGTH], starts[LENGTH];
    check_ok(context, mla_packing_create(context, &p, &c->stream, LENGTH));
    check_ok(context, mla_packing_create(context, &again, &c->stream, LENGTH));
    check_ok(context, mla_sampler_init(context, &sampler, &c->stream, p, LENGTH, 3));
    const mla_packing_report r = mla_packing_report_of(p);
    assert_int_equal(r.targets, expected);
    assert_int_equal(sampler.samples, r.sequences);
    assert_int_equal(mla_window_count(&c->stream, p, LENGTH), r.sequences);
    assert_true(r.positions > r.sequences * LENGTH * 95 / 100); /* little padding */
    for (int64_t i = 0; i < 2 * r.sequences; i++) {             /* two epochs */
        mla_sampler_get(&sampler, i, ids, targets, starts);
        for (int t = 0; t < LENGTH; t++) {
            assert_in_range(starts[t], 0, t);
            if (targets[t] < 0) continue;
            assert_int_equal(targets[t], ids[t] + 1);
            assert_int_equal(ids[t] - ids[starts[t]], t - starts[t]);
            seen[targets[t]]++;
        }
    }
    for (int64_t i = 0, d = 0; i < c->stream.count; i++) {
        const bool first = i == c->offsets[d];
        if (first) d++;
        assert_int_equal(seen[i], first ? 0 : 2);
    }
    for (int64_t i = 0; i < r.sequences; i++) { /* the same for whoever asks */
        int32_t more[3][LENGTH];
        mla_packing_get(p, i, ids, targets, starts);
        mla_window_get(&c->stream, again, LENGTH, i, more[0], more[1], more[2]);
        assert_memory_equal(ids, more[0], sizeof ids);
        assert_memory_equal(targets, more[1], sizeof ids);
        assert_memory_equal(starts, more[2], sizeof ids);
    }
    mla_packing_destroy(p);
    mla_packing_destroy(again);
    free(c);
}

static void examples_are_cut_and_left_out(void **state) {
    mla_context *context = *state;
    corpus *c = make_corpus(5, (const int[]){6, 15, 15, 4, 11}, true);
    mla_packing *p;
    int32_t ids[LENGTH], targets[LENGTH], starts[LENGTH];
    c->answers[3] = c->answers[4] = 1;               /* the first: two */
    for (int i = 14; i < 21; i++) c->answers[i] = 1; /* the second: 14 to 20, of which 17 is the last that is kept */
    c->answers[35] = 1;                              /* the third: behind the cut */
    c->answers[36] = 1;                              /* the fourth: its first token, which nothing can predict */
    c->answers[50] = 1;                              /* the fifth: exactly as long as a sequence */
    check_ok(context, mla_packing_create(context, &p, &c->stream, LENGTH));
    const mla_packing_report r = mla_packing_report_of(p);
    assert_int_equal(r.cut, 1);
    assert_int_equal(r.left_out, 2);
    assert_int_equal(r.sequences, 3);
    assert_int_equal(r.targets, 2 + 3 + 1);
    mla_packing_get(p, 0, ids, targets, starts);
    assert_memory_equal(targets, ((int32_t[]){-1, -1, 3, 4, -1, -1, -1, -1, -1, -1}), sizeof ids);
    mla_packing_get(p, 1, ids, targets, starts);
    assert_memory_equal(ids, ((int32_t[]){6, 7, 8, 9, 10, 11, 12, 13, 14, 15}), sizeof ids);
    assert_memory_equal(targets, ((int32_t[]){-1, -1, -1, -1, -1, -1, -1, 14, 15, 16}), sizeof ids);
    mla_packing_get(p, 2, ids, targets, starts);
    assert_memory_equal(targets, ((int32_t[]){-1, -1, -1, -1, -1, -1, -1, -1, -1, 50}), sizeof ids);
    mla_packing_destroy(p);
    free(c);
}

static void nothing_to_learn_is_an_error(void **state) {
    mla_context *context = *state;
    corpus *c = make_corpus(3, (const int[]){6, 15, 4}, true);
    mla_packing *p;
    mla_sampler sampler;
    check_ok(context, mla_packing_create(context, &p, &c->stream, LENGTH));
    assert_int_equal(mla_packing_report_of(p).left_out, 3);
    check_error(context, mla_sampler_init(context, &sampler, &c->stream, p, LENGTH, 1), MLA_ERROR_ARGUMENT,
                "none of the 3 documents has anything to learn within 10 tokens");
    mla_packing_destroy(p);
    check_error(context, mla_packing_create(context, &p, &c->stream, 0), MLA_ERROR_ARGUMENT, "sequences of 0 tokens");
    free(c);
}

/* Documents of 3, 14 and 2 tokens and their separators, labelled each, or each token but those of the second's end. */
static corpus *make_labelled(mla_label_form form, mla_too_long too_long) {
    static const int32_t classes[] = {1, 0, 1};
    static int32_t tags[22];
    corpus *c = make_corpus(3, (const int[]){4, 15, 3}, false);
    for (int i = 0; i < 22; i++) tags[i] = i < 10 ? i % 2 : -1;
    c->stream.labels = (mla_stream_labels){form, 1, form == MLA_TAGS ? tags : classes, NULL, too_long};
    return c;
}

static mla_packing_report pack_labelled(mla_context *context, mla_label_form form, mla_too_long too_long,
                                        int32_t ids[3][LENGTH], int32_t targets[3][LENGTH]) {
    corpus *c = make_labelled(form, too_long);
    int32_t starts[LENGTH];
    mla_packing *p;
    check_ok(context, mla_packing_create(context, &p, &c->stream, LENGTH));
    const mla_packing_report r = mla_packing_report_of(p);
    for (int64_t i = 0; i < r.sequences; i++) mla_packing_get(p, i, ids[i], targets[i], starts);
    mla_packing_destroy(p);
    free(c);
    return r;
}

static void labels_are_at_the_last_token(void **state) {
    int32_t ids[3][LENGTH], targets[3][LENGTH];
    mla_packing_report r = pack_labelled(*state, MLA_CLASSES, MLA_TOO_LONG_CUT, ids, targets);
    assert_int_equal(r.sequences, 2);
    assert_int_equal(r.targets, 3);
    assert_int_equal(r.cut, 1);
    assert_memory_equal(ids[0], ((int32_t[]){0, 1, 2, 19, 20, 0, 0, 0, 0, 0}), sizeof ids[0]);
    assert_memory_equal(targets[0], ((int32_t[]){-1, -1, 0, -1, 2, -1, -1, -1, -1, -1}), sizeof ids[0]);
    assert_int_equal(ids[1][9], 13);
    assert_int_equal(targets[1][9], 1);

    r = pack_labelled(*state, MLA_CLASSES, MLA_TOO_LONG_STRIDE, ids, targets); /* 0 to 9, and the last ten */
    assert_int_equal(r.sequences, 3);
    assert_int_equal(r.strided, 1);
    assert_int_equal(ids[2][0], 8);
    assert_int_equal(ids[2][9], 17);
    assert_int_equal(targets[1][9], 1);
    assert_int_equal(targets[2][9], 1);
}

static void tags_are_at_their_tokens(void **state) {
    int32_t ids[3][LENGTH], targets[3][LENGTH];
    const mla_packing_report r = pack_labelled(*state, MLA_TAGS, MLA_TOO_LONG_STRIDE, ids, targets);
    assert_int_equal(r.targets, 3 + 6);
    assert_memory_equal(targets[1], ((int32_t[]){4, 5, 6, 7, 8, 9, -1, -1, -1, -1}), sizeof ids[0]);
}

static void long_documents_may_be_refused(void **state) {
    mla_packing *p;
    corpus *c = make_labelled(MLA_CLASSES, MLA_TOO_LONG_REFUSE);
    check_error(*state, mla_packing_create(*state, &p, &c->stream, LENGTH), MLA_ERROR_ARGUMENT,
                "document 2 has 14 tokens, more than a sequence of 10");
    free(c);
}

enum { EXAMPLES = 300, EACH = 4 };

/* The documents of all sequences, one after the other; -1 behind each sequence. */
static int64_t documents_of(mla_packing *p, int64_t *documents) {
    int32_t ids[LENGTH], targets[LENGTH], starts[LENGTH];
    int64_t count = 0;
    for (int64_t i = 0; i < mla_packing_report_of(p).sequences; i++) {
        mla_packing_get(p, i, ids, targets, starts);
        for (int t = 0; t < LENGTH; t++)
            if (starts[t] == t && targets[t] >= 0) documents[count++] = ids[t] / EACH;
        documents[count++] = -1;
    }
    return count;
}

static void what_a_file_has_side_by_side_is_shuffled(void **state) {
    mla_context *context = *state;
    int lengths[EXAMPLES];
    for (int d = 0; d < EXAMPLES; d++) lengths[d] = EACH;
    corpus *c = make_corpus(EXAMPLES, lengths, false);
    int64_t orders[3][EXAMPLES + EXAMPLES / 3], seen[EXAMPLES] = {0}, together = 0;
    const uint64_t seeds[] = {1, 1, 2};
    mla_packing *p;
    for (int k = 0; k < 3; k++) {
        check_ok(context, mla_packing_create_shuffled(context, &p, &c->stream, LENGTH, seeds[k]));
        assert_int_equal(documents_of(p, orders[k]), EXAMPLES + EXAMPLES / 3); /* three to a sequence, all of them */
        mla_packing_destroy(p);
    }
    assert_memory_equal(orders[0], orders[1], sizeof orders[0]);
    assert_memory_not_equal(orders[0], orders[2], sizeof orders[0]);
    for (int64_t i = 0; i < EXAMPLES + EXAMPLES / 3; i++) {
        if (orders[0][i] < 0) continue;
        seen[orders[0][i]]++;
        together += i && orders[0][i - 1] >= 0 && llabs(orders[0][i] - orders[0][i - 1]) < EXAMPLES / 10;
    }
    for (int d = 0; d < EXAMPLES; d++) assert_int_equal(seen[d], 1);
    assert_in_range(together, 1, EXAMPLES * 2 / 3 * 3 / 10); /* of 200 pairs a fifth by chance; in their order all */
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_as_documented),      cmocka_unit_test(every_target_is_there_once),
        cmocka_unit_test(examples_are_cut_and_left_out), cmocka_unit_test(nothing_to_learn_is_an_error),
        cmocka_unit_test(labels_are_at_the_last_token),  cmocka_unit_test(tags_are_at_their_tokens),
        cmocka_unit_test(long_documents_may_be_refused), cmocka_unit_test(what_a_file_has_side_by_side_is_shuffled)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
