/* Host extension "swy.ops/1": kernels that run on whatever device swy_exec names.
 *
 * A router written only with these needs no device code, and its FLOPs and bytes are counted where
 * they happen. Rules that hold for every entry:
 *   - float tensors are fp32, contiguous, row-major; sizes are element counts; 0 rows are fine
 *   - outputs are overwritten, except arguments marked `add`, which are added to
 *   - inputs and outputs may not overlap unless a line says so
 *   - a *segment* table `seg` has n_seg + 1 ascending row offsets on the device; rows outside it are untouched
 *   - a `mask` has one byte per row, 0 = padding, which is left out; NULL = no padding
 *   - ties go to the lower index; sorting is stable; sums run in a fixed order (bit-identical on the CPU
 *     for the same thread count)
 *   - under SWY_EXEC_DRY an op adds its work to the counters and touches no memory
 * Before the freeze a break raises SWY_OPS_VERSION, which a plugin compares with swy_ops.version; after it the table
 * does not change, and later kernels become "swy.ops/2".
 */
/* clang-format off */
#ifndef SWITCHYARD_OPS_H
#define SWITCHYARD_OPS_H
#include "core/abi/router.h"
#ifdef __cplusplus
extern "C" {
#endif

#define SWY_OPS_ID "swy.ops/1"
#define SWY_OPS_VERSION 3

enum { /* unary maps; p, q are parameters */
  SWY_AFFINE,     /* p*x + q */
  SWY_EXP, SWY_LOG, SWY_SQRT, SWY_RSQRT, SWY_SQUARE, SWY_RECIPROCAL, SWY_ABS,
  SWY_RELU, SWY_SIGMOID, SWY_TANH, SWY_GELU, /* GELU: tanh form */
  SWY_SOFTPLUS,
  SWY_NORMAL_CDF, /* standard normal distribution function */
  SWY_CLAMP,      /* min(max(x, p), q); gradient 1 inside */
  SWY_STEP,       /* x > p ? 1 : 0; gradient 0 */
  SWY_FLOOR       /* gradient 0 */
};
enum { SWY_ADD, SWY_SUB, SWY_MUL, SWY_DIV, SWY_MAX };            /* binary maps; MAX sends ties to a */
enum { SWY_FULL, SWY_BY_COLUMN, SWY_BY_ROW, SWY_SCALAR };        /* operand shape: [m,n], [n], [m], [1] */
enum { SWY_SUM, SWY_MEAN };
enum { SWY_OVER_ROWS, SWY_OVER_COLUMNS };                        /* reduce [m,n] to [n], or to [m] */
enum { SWY_RANDOM_UNIFORM, SWY_RANDOM_NORMAL, SWY_RANDOM_GUMBEL };

typedef struct swy_ops {
  uint32_t struct_size, version; /* version: SWY_OPS_VERSION of the host */
  /* c[m,n] = alpha * op(a)[m,k] * op(b)[k,n] + beta * c; op = transpose when the flag is 1 */
  swy_status (*gemm)(const swy_exec *, int32_t trans_a, int32_t trans_b, int64_t m, int64_t n, int64_t k,
                     float alpha, const float *a, const float *b, float beta, float *c);
  /* y[r,:] = softmax(x[r,:]); x may equal y. backward: dx += y * (dy - <y, dy>) by row */
  swy_status (*softmax_rows)(const swy_exec *, int64_t rows, int64_t cols, const float *x, float *y);
  swy_status (*softmax_rows_backward)(const swy_exec *, int64_t rows, int64_t cols, const float *y,
                                      const float *dy, float *dx_add);
  /* softmax down each column within each row segment; x may equal y. -inf gives 0, a column of -inf gives zeros */
  swy_status (*softmax_segments)(const swy_exec *, int64_t n_seg, const int32_t *seg, int64_t rows, int64_t cols,
                                 const float *x, float *y);
  swy_status (*softmax_segments_backward)(const swy_exec *, int64_t n_seg, const int32_t *seg, int64_t rows,
                                          int64_t cols, const float *y, const float *dy, float *dx_add);
  /* the k largest of each row, descending: index[rows,k], value[rows,k] (value may be NULL). k <= cols */
  swy_status (*top_k_rows)(const swy_exec *, int64_t rows, int64_t cols, int64_t k, const float *x,
                           int32_t *index, float *value);
  /* dx[r, index[r,j]] += dvalue[r,j]; an index of -1 is passed over */
  swy_status (*top_k_rows_backward)(const swy_exec *, int64_t rows, int64_t cols, int64_t k, const int32_t *index,
                                    const float *dvalue, float *dx_add);
  /* For each (segment s, column c) the min(k[s], rows of s not masked) largest rows, descending. Entries are listed
   * segment by segment, column by column, rank by rank: row[], col[], value[] (x at the pair), and *count. With `order`
   * (NULL = ascending) segment s holds the rows order[seg[s]] .. order[seg[s + 1] - 1]; of equals the earlier wins. */
  swy_status (*top_k_segments)(const swy_exec *, int64_t n_seg, const int32_t *seg, const int32_t *k, int64_t rows,
                               int64_t cols, const float *x, const int32_t *order, const uint8_t *mask,
                               int64_t max_count, int32_t *row, int32_t *col, float *value, int32_t *count);
  /* value[i] = x[row[i], col[i]] for i < *count; backward: dx[row[i], col[i]] += dvalue[i] (pairs may repeat) */
  swy_status (*gather_pairs)(const swy_exec *, int64_t cols, const int32_t *count, int64_t max_count,
                             const int32_t *row, const int32_t *col, const float *x, float *value);
  swy_status (*scatter_pairs)(const swy_exec *, int64_t cols, const int32_t *count, int64_t max_count,
                              const int32_t *row, const int32_t *col, const float *dvalue, float *dx_add);
  /* y = x * r, r[row] = 1 / sqrt(sum x^2 + eps); backward: dx += r*dy - r*y*<y,dy> */
  swy_status (*normalise_rows)(const swy_exec *, int64_t rows, int64_t cols, float eps, const float *x, float *y,
                               float *r);
  swy_status (*normalise_rows_backward)(const swy_exec *, int64_t rows, int64_t cols, const float *y, const float *r,
                                        const float *dy, float *dx_add);
  /* y = (x - mean) * rstd * gain + bias by row; gain and bias may be NULL. backward adds into dx, dgain, dbias
   * (each may be NULL). mean and rstd are [rows]. */
  swy_status (*layer_norm)(const swy_exec *, int64_t rows, int64_t cols, float eps, const float *x,
                           const float *gain, const float *bias, float *y, float *mean, float *rstd);
  swy_status (*layer_norm_backward)(const swy_exec *, int64_t rows, int64_t cols, const float *x, const float *gain,
                                    const float *mean, const float *rstd, const float *dy, float *dx_add,
                                    float *dgain_add, float *dbias_add);
  /* y[i] = f(x[i]); x may equal y. backward: dx += f'(x) * dy, from x and y as forward saw and wrote them */
  swy_status (*unary)(const swy_exec *, int32_t kind, int64_t n, float p, float q, const float *x, float *y);
  swy_status (*unary_backward)(const swy_exec *, int32_t kind, int64_t n, float p, float q, const float *x,
                               const float *y, const float *dy, float *dx_add);
  /* y[m,n] = a (op) b with either operand spread from [n], [m] or [1]. backward: da and db (either may be NULL) get
   * the gradient summed back to their own shape */
  swy_status (*binary)(const swy_exec *, int32_t kind, int64_t m, int64_t n, const float *a, int32_t shape_a,
                       const float *b, int32_t shape_b, float *y);
  swy_status (*binary_backward)(const swy_exec *, int32_t kind, int64_t m, int64_t n, const float *a, int32_t shape_a,
                                const float *b, int32_t shape_b, const float *dy, float *da_add, float *db_add);
  swy_status (*axpby)(const swy_exec *, int64_t n, float alpha, const float *x, float beta, float *y); /* y = ax + by */
  swy_status (*fill)(const swy_exec *, int64_t n, float value, float *y);
  /* y = sum or mean of x[m,n] over rows ([n]) or columns ([m]; takes no mask); nothing to add up: 0. backward spreads
   * dy: dx += dy (/ count) */
  swy_status (*reduce)(const swy_exec *, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t *mask,
                       const float *x, float *y);
  swy_status (*reduce_backward)(const swy_exec *, int32_t kind, int32_t axis, int64_t m, int64_t n,
                                const uint8_t *mask, const float *dy, float *dx_add);
  /* y[s,:] = sum or mean of x over the rows of segment s (none: 0); backward spreads dy */
  swy_status (*segment_reduce)(const swy_exec *, int32_t kind, int64_t n_seg, const int32_t *seg, int64_t rows,
                               int64_t cols, const uint8_t *mask, const float *x, float *y);
  swy_status (*segment_reduce_backward)(const swy_exec *, int32_t kind, int64_t n_seg, const int32_t *seg,
                                        int64_t rows, int64_t cols, const uint8_t *mask, const float *dy,
                                        float *dx_add);
  /* y[i,:] = x[index[i],:] for i < n; backward: dx[index[i],:] += dy[i,:] (indices may repeat; n_x rows in x). An index
   * of -1 gives zeros and is passed over backward */
  swy_status (*gather_rows)(const swy_exec *, int64_t n, int64_t n_x, int64_t cols, const int32_t *index,
                            const float *x, float *y);
  swy_status (*scatter_add_rows)(const swy_exec *, int64_t n, int64_t n_x, int64_t cols, const int32_t *index,
                                 const float *dy, float *dx_add);
  /* stable argsort of key[rows] within each segment, as row numbers; scratch: work[rows] */
  swy_status (*sort_segments)(const swy_exec *, int64_t n_seg, const int32_t *seg, int64_t rows, int32_t descending,
                              const float *key, int32_t *index, int32_t *work);
  /* y[i] from (swy_exec.seed, stream, i) alone: uniform in [mean, mean + scale), normal(mean, scale), or
   * mean + scale * Gumbel */
  swy_status (*random)(const swy_exec *, int32_t kind, uint64_t stream, int64_t n, float mean, float scale, float *y);
  /* out[i] = mixed(id[i], salt) mod modulus; the same integers on every device */
  swy_status (*hash)(const swy_exec *, int64_t n, const int32_t *id, uint64_t salt, int32_t modulus, int32_t *out);
  /* Entropic plan per segment of rows: marginals 1 by row and rows/cols by column, plan = exp(u + x + v), `iterations`
   * rounds, each columns then rows. u[rows], v[n_seg, cols] are the log scalings. A row of -inf has no mass and gets 0.
   * x may equal plan. No backward. */
  swy_status (*sinkhorn)(const swy_exec *, int64_t n_seg, const int32_t *seg, int64_t rows, int64_t cols,
                         int32_t iterations, const float *x, float *plan, float *u, float *v);
  /* ASSIGN list from index[rows,k], weight[rows,k] (NULL = all 1/k), rows in `order` (NULL = ascending): all first
   * choices, then all second choices, ...; or, when by_row is 1, all choices of a row together. Masked rows and choices
   * of index -1 are left out. */
  swy_status (*assign_rows)(const swy_exec *, int64_t rows, int64_t k, const int32_t *index, const float *weight,
                            const int32_t *order, const uint8_t *mask, int32_t by_row, int32_t *row, int32_t *expert,
                            float *out_weight, int32_t *count);
  /* dweight[rows,k] += gradient of the list's weights at the place each pair was listed */
  swy_status (*assign_rows_backward)(const swy_exec *, int64_t rows, int64_t k, const int32_t *index,
                                     const int32_t *order, const uint8_t *mask, int32_t by_row, const float *dlist,
                                     float *dweight_add);
  /* y[r,:] = mask[r] ? x[r,:] : value; x may equal y */
  swy_status (*mask_rows)(const swy_exec *, int64_t rows, int64_t cols, const uint8_t *mask, float value,
                          const float *x, float *y);
  /* Equal consecutive parts of each segment: the i-th of its n unmasked rows, in `order` (row numbers by segment, as
   * sort_segments gives; NULL = ascending), gets part[row] = floor(i * parts / n). Masked rows get 0. */
  swy_status (*split_segments)(const swy_exec *, int64_t n_seg, const int32_t *seg, int64_t rows, int32_t parts,
                               const int32_t *order, const uint8_t *mask, int32_t *part);
  /* Sparsity-constrained plan per segment: at most k[s] rows for each column. See core/ops/transport.h for the problem
   * and its rounds; work[6 * rows], 8-byte aligned. No backward. */
  swy_status (*sparse_transport)(const swy_exec *, int64_t n_seg, const int32_t *seg, const int32_t *k, int64_t rows,
                                 int64_t cols, float gamma, int32_t iterations, float rate, const uint8_t *mask,
                                 const float *x, float *plan, float *work);
  /* Entropic plan per segment in [0, 1], as logs: k[s] for each column, at most `cap` for each row. See
   * core/ops/transport.h; work[rows * cols + rows]. No backward. */
  swy_status (*capped_transport)(const swy_exec *, int64_t n_seg, const int32_t *seg, const int32_t *k, int64_t rows,
                                 int64_t cols, float cap, float entropy, int32_t iterations, const uint8_t *mask,
                                 const float *x, float *log_plan, float *work);
  /* the k-th largest of each column of each segment, value[n_seg, cols]: k = floor(share * n + 1e-4) + extra, at least 1
   * and at most n, of the segment's n unmasked rows; n = 0 gives 0 */
  swy_status (*kth_largest)(const swy_exec *, int64_t n_seg, const int32_t *seg, int64_t rows, int64_t cols, double share,
                            int32_t extra, const uint8_t *mask, const float *x, float *value);
  /* rows by key: order[begin[v]] .. order[begin[v + 1] - 1] are the rows whose key is v, ascending; begin[n_keys + 1].
   * Masked rows, and rows whose key is not in [0, n_keys), stand in no bucket but behind the last one */
  swy_status (*bucket)(const swy_exec *, int64_t rows, int32_t n_keys, const int32_t *key, const uint8_t *mask,
                       int32_t *order, int32_t *begin);
  /* out[s] = ceil(share * unmasked rows of segment s), where a product within 1e-4 above an integer is that integer */
  swy_status (*segment_share)(const swy_exec *, int64_t n_seg, const int32_t *seg, double share, const uint8_t *mask,
                              int32_t *out);
  /* Exact loads: each unmasked row of a segment gets one column so that every column gets floor or ceil of its equal
   * share (the first ones one more) and the sum of x over the pairs is largest, to within rows * eps * (largest - least x);
   * see core/ops/balance.h. Values that are not finite count as the least finite one. Masked rows get -1.
   * work[3 * rows]. No backward. */
  swy_status (*balanced_assignment)(const swy_exec *, int64_t n_seg, const int32_t *seg, int64_t rows, int64_t cols,
                                    float eps, const uint8_t *mask, const float *x, int32_t *index, float *work);
  /* out[i] = keep[i] > 0 ? index[i] : -1 */
  swy_status (*keep_index)(const swy_exec *, int64_t n, const float *keep, const int32_t *index, int32_t *out);
  swy_status (*to_float)(const swy_exec *, int64_t n, const int32_t *x, float *y);
  swy_status (*to_integer)(const swy_exec *, int64_t n, const float *x, int32_t *y); /* to the nearest */
  /* y = values, which lie in host memory and stay as they are for the life of the instance */
  swy_status (*constant)(const swy_exec *, int64_t n, const float *values, float *y);
  /* y[r, to + j] += x[r, from + j] for j < n: columns cut out, or put side by side; x has x_cols columns, y y_cols */
  swy_status (*add_columns)(const swy_exec *, int64_t rows, int64_t n, const float *x, int64_t x_cols, int64_t from,
                            float *y_add, int64_t y_cols, int64_t to);
  /* totals of FLOPs and bytes counted so far in this run; the difference of two readings is the work between them */
  swy_status (*tally)(const swy_exec *, double *flops, double *bytes);
  /* adds the work of a kernel that is not in this table to the run's counters: how a custom op pays */
  swy_status (*charge)(const swy_exec *, double flops, double bytes);
} swy_ops;

#ifdef __cplusplus
}
#endif
#endif
