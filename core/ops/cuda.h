// The ops of this folder on a CUDA device. Each does what its namesake does on the CPU, whose header has the words,
// with all tensors on the stream's device; the namesake has counted the work before it comes here. Enqueues and
// returns. Where an op needs room for intermediate results that the table's signature does not have, it is the stream's
// scratch.
#pragma once
#include <cstdint>
#include <string>

#include "core/device/device.h"
#include "core/ops/adamw.h"
#include "core/ops/attention.h"
#include "core/ops/cached_attention.h"
#include "core/ops/embedding.h"
#include "core/ops/loss.h"
#include "core/ops/numbers.h"
#include "core/ops/rotary.h"

namespace swy::ops {
struct AdamChunk;
struct AdamTensor;
struct AdamRule;
struct AdamWTurn;
}  // namespace swy::ops

namespace swy::ops::cuda {

// For cuda_gemm_library() of gemm.h.
std::string gemm_library();

void balanced_assignment(Stream&, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, float eps,
                         const uint8_t* mask, const float* x, int32_t* index, float* work);
void binary(Stream&, int32_t kind, int64_t m, int64_t n, const float* a, int32_t shape_a, const float* b,
            int32_t shape_b, float* y);
void binary_backward(Stream&, int32_t kind, int64_t m, int64_t n, const float* a, int32_t shape_a, const float* b,
                     int32_t shape_b, const float* dy, float* da_add, float* db_add);
void gemm_ld(Stream&, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
             int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);
// By cuBLASLt; throw DeviceError without it. k > 0.
bool multiplies_bf16(const Stream&);
void gemm_bf16(Stream&, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const Bf16* a,
               int64_t lda, const Bf16* b, int64_t ldb, float beta, Numbers c, int64_t ldc);
void gemm_bf16_add(Stream&, int64_t m, int64_t n, int64_t k, const Bf16* a, const Bf16* b, const float* bias,
                   const float* base, float* c);
// *seed_there in place of seed where it is not null.
void random(Stream&, int32_t kind, uint64_t seed, const uint64_t* seed_there, uint64_t stream, int64_t n, float mean,
            float scale, float* y);
void hash(Stream&, int64_t n, const int32_t* id, uint64_t salt, int32_t modulus, int32_t* out);
void reduce(Stream&, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t* mask, const float* x, float* y);
void reduce_backward(Stream&, int32_t kind, int32_t axis, int64_t m, int64_t n, const uint8_t* mask, const float* dy,
                     float* dx_add);
void segment_reduce(Stream&, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                    const uint8_t* mask, const float* x, float* y);
void segment_reduce_backward(Stream&, int32_t kind, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols,
                             const uint8_t* mask, const float* dy, float* dx_add);
void gather_pairs(Stream&, int64_t cols, const int32_t* n, int64_t max_count, const int32_t* row, const int32_t* col,
                  const float* x, float* value);
void scatter_pairs(Stream&, int64_t cols, const int32_t* n, int64_t max_count, const int32_t* row, const int32_t* col,
                   const float* dvalue, float* dx_add);
void mask_rows(Stream&, int64_t rows, int64_t cols, const uint8_t* mask, float value, const float* x, float* y);
void gather_rows(Stream&, int64_t n, int64_t n_x, int64_t cols, const int32_t* index, const float* x, float* y);
void scatter_add_rows(Stream&, int64_t n, int64_t n_x, int64_t cols, const int32_t* index, const float* dy,
                      float* dx_add);
void add_columns(Stream&, int64_t rows, int64_t n, const float* x, int64_t x_cols, int64_t from, float* y_add,
                 int64_t y_cols, int64_t to);
void normalise_rows(Stream&, int64_t rows, int64_t cols, float eps, const float* x, float* y, float* r);
void normalise_rows_backward(Stream&, int64_t rows, int64_t cols, const float* y, const float* r, const float* dy,
                             float* dx_add);
void layer_norm(Stream&, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, const float* bias,
                float* y, float* mean, float* rstd);
void layer_norm_backward(Stream&, int64_t rows, int64_t cols, const float* x, const float* gain, const float* mean,
                         const float* rstd, const float* dy, float* dx_add, float* dgain_add, float* dbias_add);
void sinkhorn(Stream&, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, int32_t iterations,
              const float* x, float* plan, float* u, float* v);
void softmax_rows(Stream&, int64_t rows, int64_t cols, const float* x, float* y);
void softmax_rows_backward(Stream&, int64_t rows, int64_t cols, const float* y, const float* dy, float* dx_add);
void softmax_segments(Stream&, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, const float* x, float* y);
void softmax_segments_backward(Stream&, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, const float* y,
                               const float* dy, float* dx_add);
void sort_segments(Stream&, int64_t n_seg, const int32_t* seg, int64_t rows, bool descending, const float* key,
                   int32_t* index, int32_t* work);
void split_segments(Stream&, int64_t n_seg, const int32_t* seg, int64_t rows, int32_t parts, const int32_t* order,
                    const uint8_t* mask, int32_t* part);
void assign_rows(Stream&, int64_t rows, int64_t k, const int32_t* index, const float* weight, const int32_t* order,
                 const uint8_t* mask, bool by_row, int32_t* row, int32_t* expert, float* out_weight, int32_t* total);
void assign_rows_backward(Stream&, int64_t rows, int64_t k, const int32_t* index, const int32_t* order,
                          const uint8_t* mask, bool by_row, const float* dlist, float* dweight_add);
void bucket(Stream&, int64_t rows, int32_t n_keys, const int32_t* key, const uint8_t* mask, int32_t* order,
            int32_t* begin);
void segment_share(Stream&, int64_t n_seg, const int32_t* seg, double share, const uint8_t* mask, int32_t* out);
void top_k_rows(Stream&, int64_t rows, int64_t cols, int64_t k, const float* x, int32_t* index, float* value);
void top_k_rows_backward(Stream&, int64_t rows, int64_t cols, int64_t k, const int32_t* index, const float* dvalue,
                         float* dx_add);
void top_k_segments(Stream&, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                    const float* x, const int32_t* order, const uint8_t* mask, int64_t max_count, int32_t* row,
                    int32_t* col, float* value, int32_t* total);
void kth_largest(Stream&, int64_t n_seg, const int32_t* seg, int64_t rows, int64_t cols, double share, int32_t extra,
                 const uint8_t* mask, const float* x, float* value);
void sparse_transport(Stream&, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                      float gamma, int32_t iterations, float rate, const uint8_t* mask, const float* x, float* plan,
                      float* work);
void capped_transport(Stream&, int64_t n_seg, const int32_t* seg, const int32_t* k, int64_t rows, int64_t cols,
                      float cap, float entropy, int32_t iterations, const uint8_t* mask, const float* x,
                      float* log_plan, float* work);
void unary(Stream&, int32_t kind, int64_t n, float p, float q, const float* x, float* y);
void unary_backward(Stream&, int32_t kind, int64_t n, float p, float q, const float* x, const float* y, const float* dy,
                    float* dx_add);
void axpby(Stream&, int64_t n, float alpha, const float* x, float beta, float* y);
void fill(Stream&, int64_t n, float value, float* y);
void constant(Stream&, int64_t n, const float* values, float* y);
void to_float(Stream&, int64_t n, const int32_t* x, float* y);
void to_integer(Stream&, int64_t n, const float* x, int32_t* y);
void keep_index(Stream&, int64_t n, const float* keep, const int32_t* index, int32_t* out);

// Ops outside the table. Attention's intermediate results lie in the stream's scratch, not in a workspace.
void attention(Stream&, const AttentionShape&, const float* qkv, float* out, float* lse);
void attention_backward(Stream&, const AttentionShape&, const float* qkv, const float* out, const float* lse,
                        const float* dout, float* dqkv);
void cache_append(Stream&, const CacheShape&, int32_t tokens, const int32_t* start, const int32_t* length,
                  const float* qkv, float* key, float* value);
void cached_attention(Stream&, const CacheShape&, const int32_t* length, const float* q, int64_t stride,
                      const float* key, const float* value, float* score, float* out);
void bias_gelu(Stream&, int64_t rows, int64_t cols, const float* pre, const float* bias, float* act);
void bias_gelu_backward(Stream&, int64_t rows, int64_t cols, const float* pre, const float* bias, float* d, float* act,
                        float* dbias_add);
void bias_swiglu(Stream&, int64_t rows, int64_t hidden, const float* pre, const float* bias, float* act);
void bias_swiglu_backward(Stream&, int64_t rows, int64_t hidden, const float* pre, const float* bias, const float* dact,
                          float* dpre, float* act, float* dbias_add);
void add_bias(Stream&, int64_t rows, int64_t cols, const float* x, const float* bias, float* y);
void bias_backward(Stream&, int64_t rows, int64_t cols, const float* dy, float* dbias_add);
void cross_entropy(Stream&, int64_t rows, int64_t classes, float smoothing, const float* logits, const int32_t* label,
                   float scale, float* loss, float* dlogits, int64_t* right_add);
void token_cross_entropy(Stream&, int64_t rows, int64_t classes, const float* logits, const int32_t* target,
                         float scale, float* loss, int32_t* predicted, float* confidence, float* dlogits,
                         TokenScore* score_add);
void embed(Stream&, const EmbeddingShape&, const int32_t* token, const int32_t* position, const float* table,
           const float* place, float* x);
void embed_backward(Stream&, const EmbeddingShape&, const int32_t* token, const int32_t* position, const float* dx,
                    float* dtable_add, float* dplace_add);
void bias_rotary(Stream&, const RotaryShape&, const int32_t* position, const float* table, const float* bias,
                 float* qkv);
void rotary_backward(Stream&, const RotaryShape&, const int32_t* position, const float* table, float* dqkv);
void rms_norm(Stream&, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, float* y, float* rstd);
void rms_norm_backward(Stream&, int64_t rows, int64_t cols, const float* x, const float* gain, const float* rstd,
                       const float* dy, float* dx_add, float* dgain_add);
void adamw(Stream&, const AdamW&, int64_t n, const float* g, float* p, float* m, float* v);
void sum_of_squares(Stream&, int64_t n, const float* g, double* sum);
void clip_scale(Stream&, int64_t n, const double* squares, float most, double* norm, float* scale);
void ema(Stream&, int64_t n, float decay, const float* p, float* average);

// ---- the same on arrays of bf16 (numbers.h) ----
void to_bf16(Stream&, int64_t n, const float* from, Bf16* to);  // of any length
void layer_norm(Stream&, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, const float* bias,
                Bf16* y, float* mean, float* rstd);
void layer_norm_backward(Stream&, int64_t rows, int64_t cols, const float* x, const float* gain, const float* mean,
                         const float* rstd, const Bf16* dy, float* dx_add, float* dgain_add, float* dbias_add);
void rms_norm(Stream&, int64_t rows, int64_t cols, float eps, const float* x, const float* gain, Bf16* y, float* rstd);
void rms_norm_backward(Stream&, int64_t rows, int64_t cols, const float* x, const float* gain, const float* rstd,
                       const Bf16* dy, float* dx_add, float* dgain_add);
void add_bias(Stream&, int64_t rows, int64_t cols, const Bf16* x, const float* bias, Bf16* y);
void bias_backward(Stream&, int64_t rows, int64_t cols, const Bf16* dy, float* dbias_add);
void bias_gelu(Stream&, int64_t rows, int64_t cols, const Bf16* pre, const float* bias, Bf16* act);
void bias_gelu_backward(Stream&, int64_t rows, int64_t cols, const Bf16* pre, const float* bias, Bf16* d, Bf16* act,
                        float* dbias_add);
void bias_swiglu(Stream&, int64_t rows, int64_t hidden, const Bf16* pre, const float* bias, Bf16* act);
void bias_swiglu_backward(Stream&, int64_t rows, int64_t hidden, const Bf16* pre, const float* bias, const Bf16* dact,
                          Bf16* dpre, Bf16* act, float* dbias_add);
void bias_rotary(Stream&, const RotaryShape&, const int32_t* position, const float* table, const float* bias,
                 Bf16* qkv);
void rotary_backward(Stream&, const RotaryShape&, const int32_t* position, const float* table, Bf16* dqkv);
void attention_bf16(Stream&, const AttentionShape&, const Bf16* qkv, Bf16* out, float* lse);
void attention_backward(Stream&, const AttentionShape&, const Bf16* qkv, const Bf16* out, const float* lse,
                        const Bf16* dout, Bf16* dqkv);

// ---- all tensors of a model (multi_tensor.h): chunks, tensors and turn lie on the device ----
// parts[c] = sum of squares of chunk c's gradients
void chunk_squares(Stream&, int64_t n_chunks, const AdamChunk* chunks, const AdamTensor* tensors, double* parts);
void adamw_chunks(Stream&, int64_t n_chunks, const AdamChunk* chunks, const AdamTensor* tensors, const AdamRule&,
                  const AdamWTurn* turn, const float* scale);
void swap_averages(Stream&, int64_t n_chunks, const AdamChunk* chunks, const AdamTensor* tensors);

}  // namespace swy::ops::cuda
