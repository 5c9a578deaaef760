/* What a function that allocates, reads, writes or communicates returns.
 * The words to the number (which file, which shapes, what would be right) are kept by the context. */
#ifndef MLA_AUTOGRAD_BASE_STATUS_H
#define MLA_AUTOGRAD_BASE_STATUS_H

typedef enum {
    MLA_OK = 0,
    MLA_ERROR_ARGUMENT, /* a value from the caller or the recipe is wrong */
    MLA_ERROR_SHAPE,    /* shapes or types do not fit together */
    MLA_ERROR_MEMORY,   /* an allocation failed, or the machine has too little */
    MLA_ERROR_IO,       /* the system refused to open, read or write */
    MLA_ERROR_FORMAT,   /* a file holds something else than it should */
    MLA_ERROR_NUMERIC,  /* NaN or infinity where a number is needed */
    MLA_ERROR_LIBRARY,  /* oneDNN, HDF5 or MPI failed */
    MLA_ERROR_STOPPED   /* asked to stop by a signal */
} mla_status;

/* A few words for a status, for a message that has no other. Static storage. */
const char *mla_status_name(mla_status status);

#endif
