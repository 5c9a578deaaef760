/* The command `mla`: hands over to the subcommand named by its first argument. Only here is an error printed
 * and the process ended. */
#include "train/commands/arguments.h"
#include "train/commands/help.h"
#include "train/commands/version.h"
#include "train/distributed/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <omp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DONE = 0, FAILED = 1, WRONG_USE = 2, STOPPED = 75 };

static int exit_code(mla_status status) {
    switch (status) {
    case MLA_OK: return DONE;
    case MLA_ERROR_ARGUMENT: return WRONG_USE;
    case MLA_ERROR_STOPPED: return STOPPED;
    default: return FAILED;
    }
}

static void print_warning(void *user, const char *message) {
    (void)user;
    fprintf(stderr, "mla: warning: %s\n", message);
}

static mla_status check_ranks(mla_context *context, const mla_command *command) {
    const int64_t ranks = mla_launched();
    if (ranks <= 1 || command->ranks) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%s is one process, and %lld of it would each do the same: begin it without mpirun or srun",
                    command->name, (long long)ranks);
}

static mla_status run_command(mla_context *context, mla_comm **comm, const mla_command *command, int count,
                              char **words) {
    mla_arguments arguments;
    mla_status status = mla_arguments_parse(context, command, count, words, &arguments);
    if (!status && arguments.help) mla_help_command(context, stdout, command);
    else if (!status) status = check_ranks(context, command);
    if (!status && !arguments.help) {
        const mla_call call = {context, arguments.options, &arguments.operands, comm, stdout};
        status = command->run(&call);
    }
    mla_arguments_free(command, &arguments);
    return status;
}

static mla_status print_help(mla_context *context, const char *topic) {
    const mla_command *command;
    if (!topic) mla_help_overview(stdout);
    else if (!strcmp(topic, "recipe")) mla_help_recipe(context, stdout);
    else if (!strcmp(topic, "--man")) mla_help_man(context, stdout);
    else if (!strcmp(topic, "--completion")) mla_help_completion(context, stdout);
    else if (!mla_command_find(context, topic, &command)) mla_help_command(context, stdout, command);
    return mla_error_status(context);
}

static mla_status print_version(mla_context *context, int count, char **words) {
    const bool json = count == 1 && !strcmp(words[0], "--json");
    if (count && !json)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "--version takes nothing but --json; got \"%s\"", words[0]);
    mla_version_print(stdout, json);
    return MLA_OK;
}

static mla_status main_run(mla_context *context, mla_comm **comm, int count, char **words) {
    const mla_command *command;
    const char *first = count ? words[0] : "";
    if (!count) {
        mla_help_overview(stderr);
        return mla_fail(context, MLA_ERROR_ARGUMENT, "name a command");
    }
    if (!strcmp(first, "--version")) return print_version(context, count - 1, words + 1);
    if (!strcmp(first, "--help") || !strcmp(first, "-h")) return print_help(context, NULL);
    if (!strcmp(first, "help")) return print_help(context, count > 1 ? words[1] : NULL);
    mla_status status = mla_command_find(context, first, &command);
    return status ? status : run_command(context, comm, command, count - 1, words + 1);
}

/* With several ranks: whose error it is. That all have stopped is said once. */
static void print_error(const mla_context *context, const mla_comm *comm, mla_status status) {
    const int rank = mla_comm_rank(comm);
    if (status == MLA_ERROR_STOPPED && rank) return;
    const bool named = comm && status != MLA_ERROR_STOPPED;
    fprintf(stderr, "mla: %s%s%s\n", named ? mla_comm_name(comm, rank) : "", named ? ": " : "", mla_error(context));
}

/* A file that a command opens must not take the place of an output that is closed: what is printed would go there. */
static void hold_closed_streams(void) {
    int descriptor;
    do descriptor = open("/dev/null", O_RDONLY);
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor > STDERR_FILENO) close(descriptor);
}

/* Of a pipe: then the signal ends a command, unless whoever began it has that ignored. */
static bool reader_is_gone(void) {
    struct pollfd out = {.fd = STDOUT_FILENO};
    return poll(&out, 1, 0) == 1 && out.revents & POLLERR;
}

/* What was printed has arrived, or a command that did its work has failed all the same: without a word where nobody
 * reads on. */
static mla_status check_output(mla_context *context, mla_status status, bool *quiet) {
    errno = 0;
    const bool lost = fflush(stdout) || ferror(stdout);
    const int error = errno; /* 0 where it was lost long ago */
    if (status || !lost) return status;
    *quiet = reader_is_gone();
    return mla_fail(context, MLA_ERROR_IO, "cannot write to standard output%s%s", error ? ": " : "",
                    error ? strerror(error) : "");
}

/* At the end of each parallel loop libgomp's threads spin before they sleep, by default for some milliseconds: beside
 * one busy process on one of two processors a step of 96 ms then takes 706. The shorter they spin, the less they take
 * from others, and the more often they have to be woken: 114 ms alone and 190 beside it at 0, 101 and 200 at 1000, 89
 * and 260 at 10000. This is the longest that stays within 15 % of the best beside it. tests/bench/busy.sh measures it.
 *
 * libgomp reads the variable before main begins, so the process begins again: the same process with the same words.
 * Where that fails it runs as it is. What the user has set stays. */
static void limit_spinning(char **argv) {
    static const char spins[] = "2000";
    char program[PATH_MAX];
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || omp_get_max_threads() == 1) return;
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0 || setenv("GOMP_SPINCOUNT", spins, false)) return;
    program[length] = '\0';
    execv(program, argv);
}

int main(int argc, char **argv) {
    limit_spinning(argv);
    mla_context *context;
    mla_comm *comm = NULL;
    bool quiet = false;
    hold_closed_streams();
    if (mla_context_create(&context, &(mla_context_options){.warn = print_warning})) {
        fputs("mla: no memory\n", stderr);
        return FAILED;
    }
    mla_status status = main_run(context, &comm, argc - 1, argv + 1);
    status = check_output(context, status, &quiet);
    if (status && !quiet) print_error(context, comm, status);
    mla_comm_end(comm, exit_code(status));
    mla_context_destroy(context);
    return exit_code(status);
}
