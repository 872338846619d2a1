// Have states or experts become alike? Sums in fp64; matrices row-major.
//
//   RC              Tr(Sigma_W Sigma_B^+) of the states entering the router, classes = first expert (X-MoE, Chi et al.
//                   2022, after Papyan et al. 2020). Sigma_W = 1/N sum_i (h_i - mu_c)(h_i - mu_c)^T,
//                   Sigma_B = sum_c N_c/N (mu_c - mu)(mu_c - mu)^T, so that they add up to the whole covariance.
//                   In [0, inf); small = states have collapsed onto the centre of their expert. It grows with the
//                   number of experts used, so it compares routers with the same E
//   effective rank  exp(H(s / sum s)) of the singular values s, in [1, min(n, d)] (Roy, Vetterli 2007); rows not
//   centred CKA             similarity of two representations of the same n inputs up to rotation and scale (Kornblith
//   et al.
//                   2019): cosine of their centred n x n Gram matrices, in [0, 1]. It is biased upwards unless n is
//                   far more than the widths: independent ones reach d / (n + d). Debiased: Gram matrices centred
//                   without their diagonal (Szekely, Rizzo 2014), 0 on average for independent ones
//   cosine          of the experts' weights, all tensors end to end. Near 1 from equal starts that hardly moved; near
//                   0 says little, since hidden units may be the same in another order
#pragma once
#include <cstdint>
#include <vector>

#include "benchmarks/analysis/expert_probe.h"

namespace swy::bench {

// x [n, d], expert [n]; rows with expert -1 are left out. NaN with fewer than two experts.
double representation_collapse(const float* x, const int32_t* expert, int64_t n, int32_t d, int32_t experts);

double effective_rank(const float* x, int64_t n, int64_t d);  // NaN when x is 0

enum class Kernel { kLinear, kRbf };  // RBF: bandwidth 0.5 of the median distance
enum class Centring { kPlain, kDebiased };
// Gram matrix [n, n] of x [n, d], centred; 0 when all rows are equal. REQUIRES: n >= 4.
std::vector<double> centred_gram(const float* x, int64_t n, int64_t d, Kernel, Centring);
// Cosine of two centred Gram matrices: the CKA. NaN when one is 0.
double similarity(const std::vector<double>& a, const std::vector<double>& b);

// Means over pairs of experts (rank: over experts). NaN where there is nothing to say: one expert, nothing given.
struct ExpertLikeness {
  double cka, cka_debiased, effective_rank, cosine;
};
// x [n, width]: shared inputs; the first kProbeRows of them are used. Outputs that do not vary have no CKA.
ExpertLikeness expert_likeness(const ExpertProbe&, int32_t experts, const float* x, int64_t n, int32_t width);

}  // namespace swy::bench
