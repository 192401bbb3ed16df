// The feed-forward network: x += down(silu(gate(h)) * up(h)), dense or as a mixture of experts.
//
// Experts (Mixtral, arXiv:2401.04088): a router scores the experts of each token; the best experts_per_token are run and
// weighted by the softmax over their scores. Tokens are gathered by expert, so each expert's matrices are read once per
// pass, and only those of experts that some token chose. A token's experts are added in ascending order, so the result
// does not depend on which other tokens are in the pass.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_LAYERS_FEED_FORWARD_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_FEED_FORWARD_INL_HPP_
#undef INLAY_LAYERS_FEED_FORWARD_INL_HPP_
#else
#define INLAY_LAYERS_FEED_FORWARD_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/layers/linear-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// One network: out (=|+=) down(silu(gate(x)) * up(x)).  x: [tokens, dim] in all needed representations.
// `expert` picks the matrices where there are several.
template <class FormatList, class Spec>
HWY_INLINE void RunNetwork(const Spec& spec, const LayerWeights& layer, std::size_t expert, const Activations& x,
                           std::size_t tokens, const Scratch& scratch, const Output& out, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t ffn_dim = config.ffn_dim;
  const Activations& hidden = scratch.hidden;
  // Gate and up of the same rows are computed by the same task, so that both are in its cache when they are joined.
  ForRowRanges(executor, std::array{ffn_dim}, kRowTile, 2 * ffn_dim * config.dim * tokens,
               [&](std::size_t, std::size_t begin, std::size_t end) HWY_ATTR {
                 MatMul<FormatList>(layer.gate.type, layer.gate.expert(expert), ffn_dim, spec.dim(), x, 0, tokens, begin,
                                    end, Output{hidden.values, hidden.stride, false});
                 MatMul<FormatList>(layer.up.type, layer.up.expert(expert), ffn_dim, spec.dim(), x, 0, tokens, begin, end,
                                    Output{scratch.up, ffn_dim, false});
                 for (std::size_t t = 0; t < tokens; ++t) {
                   float* gate = hidden.values + t * hidden.stride + begin;
                   SiluMultiply(gate, scratch.up + t * ffn_dim + begin, end - begin, gate);
                 }
               });
  QuantizeForProduct(KindsFor(layer.down), ffn_dim, tokens, hidden, executor);
  Multiply<FormatList>(layer.down.type, layer.down.expert(expert), config.dim, spec.ffn_dim(), hidden, tokens, out,
                       executor);
}

// Picks the experts of one token: the best scores (the lower index wins a tie), in ascending order of index, with the
// softmax over the chosen scores as weights.
inline void ChooseExperts(const float* scores, std::size_t experts, std::size_t count, std::uint32_t* chosen,
                          float* weights) {
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t best = experts;
    for (std::size_t e = 0; e < experts; ++e) {
      const bool taken = std::find(chosen, chosen + i, static_cast<std::uint32_t>(e)) != chosen + i;
      if (!taken && (best == experts || scores[e] > scores[best])) best = e;
    }
    chosen[i] = static_cast<std::uint32_t>(best);
  }
  std::sort(chosen, chosen + count);
  for (std::size_t i = 0; i < count; ++i) weights[i] = scores[chosen[i]];
  Softmax(weights, count);
}

template <class FormatList, class Spec>
HWY_NOINLINE void RunExperts(const Spec& spec, const LayerWeights& layer, std::size_t tokens, const Scratch& scratch,
                             ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const ExpertScratch& experts = scratch.experts;
  const std::size_t dim = config.dim, count = config.experts, used = config.experts_per_token;
  Multiply<FormatList>(layer.router.type, layer.router.data, count, spec.dim(), scratch.normalized, tokens,
                       Output{experts.scores, count, false}, executor);
  for (std::size_t t = 0; t < tokens; ++t) {
    ChooseExperts(experts.scores + t * count, count, used, experts.chosen + t * used, experts.weights + t * used);
  }
  const ActivationKinds kinds = KindsFor(layer.gate, layer.up);
  for (std::size_t e = 0; e < count; ++e) {
    std::size_t members = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t i = t * used; i < (t + 1) * used; ++i) {
        if (experts.chosen[i] != e) continue;
        experts.members[members] = static_cast<std::uint32_t>(t);
        experts.member_weights[members++] = experts.weights[i];
      }
    }
    if (members == 0) continue;
    for (std::size_t m = 0; m < members; ++m) {
      const float* from = scratch.normalized.values + experts.members[m] * scratch.normalized.stride;
      std::copy(from, from + dim, experts.input.values + m * experts.input.stride);
    }
    QuantizeForProduct(kinds, dim, members, experts.input, executor);
    RunNetwork<FormatList>(spec, layer, e, experts.input, members, scratch, Output{experts.output, dim, false}, executor);
    for (std::size_t m = 0; m < members; ++m) {
      const float* from = experts.output + m * dim;
      float* to = scratch.residual + experts.members[m] * dim;
      for (std::size_t i = 0; i < dim; ++i) to[i] += experts.member_weights[m] * from[i];
    }
  }
}

// residual += network(RMSNorm(residual)).
template <class FormatList, class Spec>
HWY_INLINE void AddFeedForward(const Spec& spec, const LayerWeights& layer, std::size_t tokens, const Scratch& scratch,
                               ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  ActivationKinds kinds = KindsFor(layer.gate, layer.up);
  if (config.experts != 0) kinds |= KindsFor(layer.router);
  NormalizeRows(scratch.residual, layer.ffn_norm, config.norm_epsilon, spec.dim(), tokens, kinds, scratch.normalized,
                executor);
  if (config.experts != 0) {
    RunExperts<FormatList>(spec, layer, tokens, scratch, executor);
  } else {
    RunNetwork<FormatList>(spec, layer, 0, scratch.normalized, tokens, scratch,
                           Output{scratch.residual, config.dim, true}, executor);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_FEED_FORWARD_INL_HPP_
