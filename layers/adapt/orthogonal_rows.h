/* The singular values and vectors of a matrix, in double precision. */
#ifndef MLA_LAYERS_ADAPT_ORTHOGONAL_ROWS_H
#define MLA_LAYERS_ADAPT_ORTHOGONAL_ROWS_H

#include <stdint.h>

/* Turns the rows of a (rows,width) within the space they span until they are orthogonal, the longest first:
 * row i is then s v^T, with the i-th singular value s as its length. Of a symmetric matrix without negative
 * eigenvalues these are its eigenvalues and eigenvectors. Rows of no length are noise: divide by none. */
void mla_orthogonal_rows(int64_t rows, int64_t width, double *a);

/* The length of a row. */
double mla_row_length(int64_t width, const double *row);

#endif
