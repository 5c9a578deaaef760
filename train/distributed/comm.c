#include "train/distributed/comm.h"
#include "autograd/base/clock.h"
#include "train/distributed/launcher.h"

#include <errno.h>
#include <mpi.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NAME_LENGTH = 96, SEGMENT_ALIGNMENT = 16, BROADCAST_PIECE = 1 << 26 };
enum { TAG_DATA = 1, TAG_LIFE = 2 };
enum { ALIVE = 1, GOODBYE = 2 };
enum { GRACE = 20 }; /* seconds that starting and ending may take beside the timeout */

/* A second thread, for what must happen while the first one computes, or hangs in MPI. */
typedef struct {
    pthread_t thread;
    pthread_mutex_t mutex; /* of `stop` */
    pthread_cond_t wake;
    bool running, stop;
} helper;

/* The signs of life: a ring, in which each rank listens to the one before it. */
typedef struct {
    double heard;
    int sent, received;
    MPI_Request sending, receiving;
    bool left; /* the one before has said goodbye */
    int lost;  /* read and written atomically; -1: nobody */
} life;

struct mla_comm {
    mla_context *context;
    int rank, world;
    char (*names)[NAME_LENGTH];
    MPI_Comm main, deal, collect, life_lane; /* what is begun on one lane is begun in one order by all ranks */
    pthread_mutex_t mpi;                     /* two threads use MPI, never at once */
    double waited, timeout;
    helper helper; /* looks after the start, then the signs of life, then the end */
    life life;
};

struct mla_link {
    mla_comm *comm;
    int64_t count, segment; /* floats; all segments but the last ones are of one length */
    MPI_Request request;
    int *lengths, *places; /* of the segments */
    int *receive_lengths, *receive_places;
    int *send_lengths;
};

static mla_status comm_check(mla_comm *comm, int code, const char *what) {
    if (code == MPI_SUCCESS) return MLA_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return mla_fail(comm->context, MLA_ERROR_LIBRARY, "MPI cannot %s: %s", what, text);
}

static void lock(mla_comm *comm) { pthread_mutex_lock(&comm->mpi); }
static void unlock(mla_comm *comm) { pthread_mutex_unlock(&comm->mpi); }

/* ---- the second thread ---- */

static bool asked_to_stop(helper *h, double seconds) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    const double end = (double)until.tv_nsec * 1e-9 + seconds;
    until.tv_sec += (time_t)end;
    until.tv_nsec = (long)((end - (double)(time_t)end) * 1e9);
    int code = 0;
    pthread_mutex_lock(&h->mutex);
    while (!h->stop && code != ETIMEDOUT) code = pthread_cond_timedwait(&h->wake, &h->mutex, &until);
    const bool stop = h->stop;
    pthread_mutex_unlock(&h->mutex);
    return stop;
}

/* Signals are for the main thread. */
static mla_status start_helper(mla_comm *comm, void *(*run)(void *)) {
    helper *h = &comm->helper;
    sigset_t all, old;
    h->stop = false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    const int code = pthread_create(&h->thread, NULL, run, comm);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    h->running = code == 0;
    if (!code) return MLA_OK;
    return mla_fail(comm->context, MLA_ERROR_LIBRARY, "no thread to watch over the other ranks: %s", strerror(code));
}

static void stop_helper(mla_comm *comm) {
    helper *h = &comm->helper;
    if (!h->running) return;
    pthread_mutex_lock(&h->mutex);
    h->stop = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->mutex);
    pthread_join(h->thread, NULL);
    h->running = false;
}

/* While all start and end, when there are no signs of life: MPI would wait for ever for a rank that does not come. */
static void *limit(void *user) {
    mla_comm *comm = user;
    const double seconds = comm->timeout + GRACE;
    if (asked_to_stop(&comm->helper, seconds)) return NULL;
    mla_warn(comm->context,
             "%s has waited %g s for all ranks to start or to end: one of them is stopped, dead or cut off",
             comm->names ? mla_comm_name(comm, comm->rank) : "a rank", seconds);
    _exit(EXIT_FAILURE);
}

/* ---- who is there ---- */

static mla_status open_lane(mla_comm *comm, MPI_Comm *lane) {
    const mla_status status = comm_check(comm, MPI_Comm_dup(MPI_COMM_WORLD, lane), "open a lane between the ranks");
    if (!status) MPI_Comm_set_errhandler(*lane, MPI_ERRORS_RETURN);
    return status;
}

static mla_status learn_names(mla_comm *comm) {
    char mine[NAME_LENGTH] = "", host[64] = "?";
    gethostname(host, sizeof host - 1);
    snprintf(mine, sizeof mine, "rank %d on %s", comm->rank, host);
    comm->names = mla_alloc(comm->context, comm->world, sizeof *comm->names, "the names of the ranks");
    return comm->names ? mla_comm_share(comm, mine, sizeof mine, comm->names) : MLA_ERROR_MEMORY;
}

/* What the library says of itself, up to what it adds about how it was built. */
const char *mla_comm_library(void) {
    static char name[MPI_MAX_LIBRARY_VERSION_STRING];
    MPI_Get_library_version(name, &(int){0});
    return name[strcspn(name, ",\n")] = '\0', name;
}

int mla_comm_rank(const mla_comm *comm) { return comm ? comm->rank : 0; }
int mla_comm_world(const mla_comm *comm) { return comm ? comm->world : 1; }
const char *mla_comm_name(const mla_comm *comm, int rank) { return comm && comm->names ? comm->names[rank] : ""; }

static const char *host_of(const mla_comm *comm, int rank) { return strstr(comm->names[rank], " on "); }

int mla_comm_neighbours(const mla_comm *comm) {
    int count = comm ? 0 : 1;
    for (int r = 0; r < mla_comm_world(comm) && comm; r++)
        count += !strcmp(host_of(comm, r), host_of(comm, comm->rank));
    return count;
}

/* ---- signs of life ---- */

static int before(const mla_comm *comm) { return (comm->rank + comm->world - 1) % comm->world; }
static int behind(const mla_comm *comm) { return (comm->rank + 1) % comm->world; }

static void listen(mla_comm *comm) {
    MPI_Irecv(&comm->life.received, 1, MPI_INT, before(comm), TAG_LIFE, comm->life_lane, &comm->life.receiving);
}

static void say(mla_comm *comm, int word) {
    comm->life.sent = word;
    MPI_Isend(&comm->life.sent, 1, MPI_INT, behind(comm), TAG_LIFE, comm->life_lane, &comm->life.sending);
}

static bool is_over(MPI_Request *request) {
    int over = 0;
    return MPI_Test(request, &over, MPI_STATUS_IGNORE) == MPI_SUCCESS && over;
}

/* Says and hears what there is. All that came while this rank itself was held up is heard before it judges. */
static void beat(mla_comm *comm, int word) {
    life *l = &comm->life;
    lock(comm);
    if (is_over(&l->sending) && l->sent != GOODBYE) say(comm, word);
    while (!l->left && is_over(&l->receiving)) {
        l->heard = mla_seconds();
        l->left = l->received == GOODBYE;
        if (!l->left) listen(comm);
    }
    unlock(comm);
}

/* The main thread fails as soon as it waits for anything. Where it does not come to that, held up by a dead disk
 * perhaps, nobody else would end the run. */
static void judge(mla_comm *comm) {
    life *l = &comm->life;
    const double silence = mla_seconds() - l->heard;
    if (l->left || silence < comm->timeout) return;
    __atomic_store_n(&l->lost, before(comm), __ATOMIC_RELEASE);
    if (silence < 2 * comm->timeout + 5) return;
    mla_warn(comm->context, "%s is lost: all ranks are ended", mla_comm_name(comm, before(comm)));
    MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
}

static void *live(void *user) {
    mla_comm *comm = user;
    const double pause = comm->timeout / 10 < 0.5 ? comm->timeout / 10 : 0.5;
    do {
        beat(comm, ALIVE);
        judge(comm);
    } while (!asked_to_stop(&comm->helper, pause));
    return NULL;
}

static mla_status check_alive(const mla_comm *comm) {
    const int lost = __atomic_load_n(&comm->life.lost, __ATOMIC_ACQUIRE);
    if (lost < 0) return mla_error_status(comm->context);
    return mla_fail(
        comm->context, MLA_ERROR_LIBRARY,
        "%s has given no sign of life for %g s (train.comm_timeout): it is stopped, dead or cut off; resume "
        "the run with --resume",
        mla_comm_name(comm, lost), comm->timeout);
}

/* ---- waiting ---- */

/* Short waits spin; a rank that waits for long, for a checkpoint perhaps, leaves its core to the others. */
static void rest(double since) {
    if (mla_seconds() - since < 1e-3) sched_yield();
    else nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

mla_status mla_comm_wait(mla_comm *comm, bool (*done)(void *user), void *user) {
    if (!comm) return MLA_OK;
    const double begin = mla_seconds();
    mla_status status = MLA_OK;
    while (!done(user) && !(status = check_alive(comm))) rest(begin);
    comm->waited += mla_seconds() - begin;
    return status;
}

double mla_comm_waited(mla_comm *comm) {
    if (!comm) return 0;
    const double waited = comm->waited;
    comm->waited = 0;
    return waited;
}

typedef struct {
    mla_comm *comm;
    MPI_Request request;
} one;

static bool tested(mla_comm *comm, MPI_Request *request) {
    int over = 0;
    lock(comm);
    const int code = MPI_Test(request, &over, MPI_STATUS_IGNORE);
    unlock(comm);
    return !comm_check(comm, code, "reach the other ranks") && over;
}

static bool one_done(void *user) {
    one *o = user;
    return tested(o->comm, &o->request);
}

static mla_status finish(one *o, int code) {
    unlock(o->comm);
    const mla_status status = comm_check(o->comm, code, "reach the other ranks");
    return status ? status : mla_comm_wait(o->comm, one_done, o);
}

mla_status mla_comm_meet(mla_comm *comm) {
    if (!comm) return MLA_OK;
    one o = {.comm = comm};
    lock(comm);
    return finish(&o, MPI_Ibarrier(comm->main, &o.request));
}

mla_status mla_comm_share(mla_comm *comm, const void *mine, int64_t bytes, void *all) {
    if (!comm) return memcpy(all, mine, (size_t)bytes), MLA_OK;
    one o = {.comm = comm};
    lock(comm);
    return finish(&o, MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, comm->main, &o.request));
}

static int64_t comm_smaller(int64_t a, int64_t b) { return a < b ? a : b; }

mla_status mla_comm_broadcast(mla_comm *comm, void *data, int64_t bytes) {
    mla_status status = MLA_OK;
    for (int64_t at = 0; comm && at < bytes && !status; at += BROADCAST_PIECE) {
        one o = {.comm = comm};
        lock(comm);
        status = finish(&o, MPI_Ibcast((char *)data + at, (int)comm_smaller(bytes - at, BROADCAST_PIECE), MPI_BYTE, 0,
                                       comm->main, &o.request));
    }
    return status;
}

mla_status mla_comm_send(mla_comm *comm, int to, const void *data, int64_t bytes) {
    one o = {.comm = comm};
    lock(comm);
    return finish(&o, MPI_Isend(data, (int)bytes, MPI_BYTE, to, TAG_DATA, comm->main, &o.request));
}

mla_status mla_comm_receive(mla_comm *comm, int from, void *data, int64_t bytes) {
    one o = {.comm = comm};
    lock(comm);
    return finish(&o, MPI_Irecv(data, (int)bytes, MPI_BYTE, from, TAG_DATA, comm->main, &o.request));
}

/* ---- starting ---- */

static mla_status start_mpi(mla_comm *comm) {
    int provided;
    mla_status status = comm_check(comm, MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided), "start");
    if (!status && provided < MPI_THREAD_SERIALIZED)
        status = mla_fail(comm->context, MLA_ERROR_LIBRARY,
                          "this MPI was built without threads (MPI_THREAD_SERIALIZED)");
    if (status) return status;
    MPI_Comm_rank(MPI_COMM_WORLD, &comm->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &comm->world);
    status = open_lane(comm, &comm->main);
    if (!status) status = open_lane(comm, &comm->deal);
    if (!status) status = open_lane(comm, &comm->collect);
    if (!status) status = open_lane(comm, &comm->life_lane);
    return status ? status : learn_names(comm);
}

static mla_status start_living(mla_comm *comm) {
    comm->life.heard = mla_seconds();
    listen(comm);
    say(comm, ALIVE);
    return start_helper(comm, live);
}

/* mpirun waits for what it has sent to a host that is cut off until TCP gives up, unless it finds out before. */
static void warn_of_launcher(const mla_comm *comm) {
    const bool by_mpirun = getenv("OMPI_COMM_WORLD_SIZE"), finds_out = getenv("OMPI_MCA_oob_tcp_keepalive_time");
    if (comm->rank || !by_mpirun || finds_out || mla_comm_neighbours(comm) == comm->world) return;
    mla_warn(comm->context,
             "should a host be cut off, all ranks end, but mpirun waits for it a quarter of an hour: start it "
             "with --mca oob_tcp_keepalive_time 10 --mca oob_tcp_keepalive_intvl 5 --mca oob_tcp_keepalive_probes 3");
}

mla_status mla_comm_start(mla_context *context, double timeout, mla_comm **out) {
    *out = NULL;
    if (!mla_launched_maybe_several()) return MLA_OK;
    mla_comm *comm = *out = mla_alloc(context, 1, sizeof *comm, "the ranks");
    if (!comm) return MLA_ERROR_MEMORY;
    comm->context = context;
    comm->timeout = timeout;
    comm->life.lost = -1;
    pthread_mutex_init(&comm->mpi, NULL);
    pthread_mutex_init(&comm->helper.mutex, NULL);
    pthread_cond_init(&comm->helper.wake, NULL);
    mla_status status = start_helper(comm, limit);
    if (!status) status = start_mpi(comm);
    stop_helper(comm);
    if (!status) warn_of_launcher(comm);
    return status ? status : start_living(comm);
}

/* ---- links ---- */

static void comm_lay_out(mla_link *link) {
    const int world = link->comm->world, me = link->comm->rank;
    int64_t begin;
    for (int r = 0; r < world; r++) {
        link->lengths[r] = (int)mla_link_segment(link, r, &begin);
        link->places[r] = (int)begin;
        link->send_lengths[r] = r == me ? 0 : link->lengths[r];
    }
    for (int r = 0; r < world; r++) {
        link->receive_lengths[r] = r == me ? 0 : link->lengths[me];
        link->receive_places[r] = r * link->lengths[me];
    }
}

mla_status mla_link_create(mla_comm *comm, int64_t count, mla_link **out) {
    const int world = mla_comm_world(comm);
    mla_link *link = *out = mla_alloc(comm->context, 1, sizeof *link, "a link between the ranks");
    if (!link) return MLA_ERROR_MEMORY;
    const int64_t unit = (int64_t)world * SEGMENT_ALIGNMENT;
    *link = (mla_link){.comm = comm,
                       .count = count,
                       .segment = (count + unit - 1) / unit * SEGMENT_ALIGNMENT,
                       .request = MPI_REQUEST_NULL};
    int *numbers = link->lengths = mla_alloc(comm->context, 5 * world, sizeof *numbers, "a link between the ranks");
    if (!numbers) return MLA_ERROR_MEMORY;
    link->places = numbers + world;
    link->send_lengths = numbers + 2 * world;
    link->receive_lengths = numbers + 3 * world;
    link->receive_places = numbers + 4 * world;
    comm_lay_out(link);
    return MLA_OK;
}

void mla_link_destroy(mla_link *link) {
    if (!link) return;
    free(link->lengths);
    free(link);
}

int64_t mla_link_segment(const mla_link *link, int rank, int64_t *begin) {
    *begin = comm_smaller(rank * link->segment, link->count);
    return comm_smaller(link->segment, link->count - *begin);
}

int64_t mla_link_room(const mla_link *link) { return link->segment * link->comm->world; }

static MPI_Datatype wire_type(mla_dtype type) { return type == MLA_BF16 ? MPI_UINT16_T : MPI_FLOAT; }

mla_status mla_link_deal(mla_link *link, mla_dtype type, const void *data, void *received) {
    lock(link->comm);
    const int code = MPI_Ialltoallv(data, link->send_lengths, link->places, wire_type(type), received,
                                    link->receive_lengths, link->receive_places, wire_type(type), link->comm->deal,
                                    &link->request);
    unlock(link->comm);
    return comm_check(link->comm, code, "send gradients");
}

mla_status mla_link_collect(mla_link *link, mla_dtype type, void *data) {
    lock(link->comm);
    const int code = MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_FLOAT, data, link->lengths, link->places, wire_type(type),
                                     link->comm->collect, &link->request);
    unlock(link->comm);
    return comm_check(link->comm, code, "collect gradients");
}

bool mla_link_done(mla_link *link) { return tested(link->comm, &link->request); }

/* ---- threads ---- */

typedef struct {
    char host[64];
    cpu_set_t cores;
} seat;

static bool overlap(const seat *a, const seat *b) {
    cpu_set_t both;
    CPU_AND(&both, &a->cores, &b->cores);
    return !strcmp(a->host, b->host) && CPU_COUNT(&both) > 0;
}

int mla_comm_threads(mla_comm *comm, mla_context *context, int wanted) {
    if (!comm) return wanted;
    seat mine = {.host = ""}, *all = mla_alloc(context, comm->world, sizeof *all, "the places of the ranks");
    gethostname(mine.host, sizeof mine.host - 1);
    if (sched_getaffinity(0, sizeof mine.cores, &mine.cores)) CPU_ZERO(&mine.cores);
    int cores = CPU_COUNT(&mine.cores), sharing = 0;
    if (cores < 1) cores = 1;
    if (!all || mla_comm_share(comm, &mine, sizeof mine, all)) return free(all), wanted;
    for (int r = 0; r < comm->world; r++) sharing += overlap(&mine, &all[r]);
    free(all);
    if (wanted <= 0 && getenv("OMP_NUM_THREADS")) wanted = omp_get_max_threads();
    const int threads = wanted > 0 ? wanted : cores / (sharing ? sharing : 1) > 0 ? cores / (sharing ? sharing : 1) : 1;
    if (threads > cores && (comm->rank == 0 || cores == 1))
        mla_warn(context,
                 "%s has %d threads, but may run on %d core%s only: start with mpirun --bind-to none, or with "
                 "--map-by slot:PE=%d; or set train.threads=%d",
                 mla_comm_name(comm, comm->rank), threads, cores, cores == 1 ? "" : "s", threads, cores);
    return threads;
}

/* ---- ending ---- */

static bool has_left(void *user) {
    mla_comm *comm = user;
    beat(comm, GOODBYE);
    return comm->life.left && comm->life.sent == GOODBYE && is_over(&comm->life.sending);
}

static bool is_started(void) {
    int started = 0;
    return MPI_Initialized(&started) == MPI_SUCCESS && started;
}

void mla_comm_end(mla_comm *comm, int exit_code) {
    if (!comm) return;
    const bool good = exit_code == 0 || exit_code == 75;
    mla_clear_error(comm->context);
    if (!is_started()) return free(comm);
    if (!good || mla_comm_meet(comm)) MPI_Abort(MPI_COMM_WORLD, good ? EXIT_FAILURE : exit_code);
    stop_helper(comm);
    start_helper(comm, limit);
    mla_comm_wait(comm, has_left, comm);
    MPI_Finalize();
    stop_helper(comm);
    free(comm->names);
    free(comm);
}
