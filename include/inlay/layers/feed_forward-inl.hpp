// The feed-forward network: x += down(activation(gate(h)) * up(h)), dense or as a mixture of experts.
//
// Experts (Mixtral, arXiv:2401.04088): a router scores the experts of each token; the best experts_per_token are run and
// weighted, by the softmax over their scores or otherwise (Router). Tokens are gathered by expert, so each expert's matrices are read once per
// pass, and only those of experts that some token chose. A token's experts are added in ascending order, so the result
// does not depend on which other tokens are in the pass.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "inlay/config/spec.hpp"
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
#include "inlay/layers/adapter-inl.hpp"
#include "inlay/layers/linear-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// The matrices of one network.
struct NetworkWeights {
  const PackedMatrix& gate;
  const PackedMatrix& up;
  const PackedMatrix& down;
  const float* gate_bias = nullptr;  // [experts, ffn_dim], as the others, or nullptr
  const float* up_bias = nullptr;
  const float* down_bias = nullptr;  // [experts, dim]
  float sparsity = 0.0f;             // how the gates of a token are cut off (ModelConfig); 0: not at all
  TensorRole gate_role = TensorRole::kGate;
  TensorRole up_role = TensorRole::kUp;
  TensorRole down_role = TensorRole::kDown;
};
inline NetworkWeights DenseNetwork(const ModelConfig& config, const LayerWeights& layer, std::size_t index) {
  return {layer.gate,    layer.up,        layer.down, layer.gate_bias,
          layer.up_bias, layer.down_bias, config.sparse_layers.Has(index) ? config.sparsity : 0.0f};
}
inline NetworkWeights ExpertNetwork(const LayerWeights& layer) {
  return {layer.expert_gate,      layer.expert_up,      layer.expert_down,
          layer.expert_gate_bias, layer.expert_up_bias, layer.expert_down_bias,
          0.0f, TensorRole::kExpertGate, TensorRole::kExpertUp, TensorRole::kExpertDown};
}
inline NetworkWeights SharedNetwork(const LayerWeights& layer) {
  NetworkWeights network{layer.shared_gate, layer.shared_up, layer.shared_down};
  network.gate_role = TensorRole::kSharedGate;
  network.up_role = TensorRole::kSharedUp;
  network.down_role = TensorRole::kSharedDown;
  return network;
}

// hidden = activation(gate) * up, or activation(hidden) without a gate.
HWY_INLINE void JoinHidden(const ModelConfig& config, const float* up, std::size_t n, float* hidden) {
  const auto join = [&]<class Activate16>(Activate16) HWY_ATTR {
    if (config.gated) {
      ActivateMultiply<Activate16>(hidden, up, n, hidden);
    } else {
      Activate<Activate16>(hidden, n, hidden);
    }
  };
  switch (config.activation) {
    case Activation::kSilu: return join(Silu16());
    case Activation::kGelu: return join(Gelu16());
    case Activation::kGeluErf: return join(GeluErf16());
    case Activation::kReluSquared: return join(ReluSquared16());
    case Activation::kClampedSilu: return ClampedSiluMultiply(hidden, up, 1.702f, 7.0f, n, hidden);
  }
}

// The input representations that a network's first matrices multiply with.
template <class Spec>
HWY_INLINE ActivationKinds NetworkKinds(const Spec& spec, const NetworkWeights& network) {
  return spec.config().gated ? KindsFor(network.gate, network.up) : KindsFor(network.up);
}

// One network: out (=|+=) down(activation(gate(x)) * up(x)).  x: [tokens, dim] in all needed representations.
// `expert` picks the matrices where there are several; `adapters` are for x's rows, and for that expert.
template <class FormatList, class Spec, Extent FfnDim>
HWY_INLINE void RunNetwork(const Spec& spec, const NetworkWeights& network, std::size_t expert, FfnDim ffn_dim,
                           const Activations& x, std::size_t tokens, const LayerAdapters& adapters, const Scratch& scratch,
                           const Output& out, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const Activations& hidden = scratch.hidden;
  const std::size_t ffn = ffn_dim;
  adapters.Prepare({network.up_role, network.gate_role}, config.dim, x, executor);
  const auto project = [&](const PackedMatrix& matrix, const float* bias, std::size_t slot, TensorRole role,
                           std::size_t begin, std::size_t end, const Output& to) HWY_ATTR {
    MatMul<FormatList>(matrix.type, matrix.expert(expert), ffn, spec.dim(), x, 0, tokens, begin, end, to);
    if (bias != nullptr) AddBias(bias + expert * ffn, tokens, begin, end, to);
    adapters.Add(slot, role, ffn, begin, end, to);
  };
  // Gate and up of the same rows are computed by the same task, so that both are in its cache when they are joined.
  ForRowRanges(executor, std::array{ffn}, RowUnit(tokens), (config.gated ? 2 : 1) * ffn * config.dim * tokens,
               [&](std::size_t, std::size_t begin, std::size_t end) HWY_ATTR {
                 const Output to{hidden.values, hidden.stride, false};
                 if (config.gated) {
                   project(network.gate, network.gate_bias, 1, network.gate_role, begin, end, to);
                   project(network.up, network.up_bias, 0, network.up_role, begin, end, Output{scratch.up, ffn, false});
                 } else {
                   project(network.up, network.up_bias, 0, network.up_role, begin, end, to);
                 }
                 for (std::size_t t = 0; network.sparsity == 0.0f && t < tokens; ++t) {
                   const float* up = config.gated ? scratch.up + t * ffn + begin : nullptr;
                   JoinHidden(config, up, end - begin, hidden.values + t * hidden.stride + begin);
                 }
               });
  if (network.sparsity != 0.0f) {
    // What is cut off depends on all gates of a token.
    ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
      for (std::size_t t = begin; t < end; ++t) {
        float* const gates = hidden.values + t * hidden.stride;
        KeepLargest(network.sparsity, ffn, gates);
        JoinHidden(config, scratch.up + t * ffn, ffn, gates);
      }
    });
  }
  QuantizeForProduct(KindsFor(network.down), ffn, tokens, hidden, executor);
  MultiplyChanged<FormatList>(network.down.type, network.down.expert(expert),
                              network.down_bias == nullptr ? nullptr : network.down_bias + expert * config.dim, network.down_role,
                              config.dim, ffn_dim, hidden, tokens, adapters, out, executor);
}

// Leaves the groups_used groups of experts whose two best scores have the largest sums (the lower index wins a tie);
// the scores of all others become the lowest there is.
inline void KeepBestGroups(const ModelConfig& config, float* scores) {
  const std::size_t groups = config.expert.groups, size = config.experts / groups;
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  const auto sum_of_best = [&](std::size_t group) {
    float best = kLowest, second = kLowest;
    for (std::size_t i = group * size; i < (group + 1) * size; ++i) {
      if (scores[i] > best) {
        second = best;
        best = scores[i];
      } else if (scores[i] > second) {
        second = scores[i];
      }
    }
    return best + second;
  };
  std::array<float, kMaxExperts / 2> sums;
  for (std::size_t g = 0; g < groups; ++g) sums[g] = sum_of_best(g);
  for (std::size_t g = 0; g < groups; ++g) {
    std::size_t better = 0;
    for (std::size_t other = 0; other < groups; ++other) better += sums[other] > sums[g] || (sums[other] == sums[g] && other < g);
    if (better >= config.expert.groups_used) std::fill(scores + g * size, scores + (g + 1) * size, kLowest);
  }
}

// Picks the experts of one token, in ascending order of index, and their weights. `scores` [experts] are the router's, and
// are overwritten; `bias` [experts] or nullptr is added to what chooses. The lower index wins a tie.
inline void ChooseExperts(const ModelConfig& config, float* scores, const float* bias, std::uint32_t* chosen,
                          float* weights) {
  const std::size_t experts = config.experts, count = config.experts_per_token;
  // The scores choose, but where a bias is added or groups are compared: then it is what weighs.
  std::array<float, kMaxExperts> selection;
  const bool by_weight = bias != nullptr || config.expert.groups > 1;
  if (!by_weight) std::copy_n(scores, experts, selection.data());
  if (config.expert.router == Router::kSoftmaxOfAll) Softmax(scores, experts);
  if (config.expert.router == Router::kSigmoid) {
    for (std::size_t i = 0; i < experts; i += 16) {
      const std::size_t n = std::min<std::size_t>(16, experts - i);
      StoreUpTo16(Sigmoid16(LoadUpTo16(scores + i, n)), scores + i, n);
    }
  }
  if (by_weight) std::copy_n(scores, experts, selection.data());
  if (bias != nullptr) AddResidual(bias, experts, selection.data());
  if (config.expert.groups > 1) KeepBestGroups(config, selection.data());
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t best = experts;
    for (std::size_t e = 0; e < experts; ++e) {
      const bool taken = std::find(chosen, chosen + i, static_cast<std::uint32_t>(e)) != chosen + i;
      if (!taken && (best == experts || selection[e] > selection[best])) best = e;
    }
    chosen[i] = static_cast<std::uint32_t>(best);
  }
  std::sort(chosen, chosen + count);
  for (std::size_t i = 0; i < count; ++i) weights[i] = scores[chosen[i]];
  if (config.expert.router == Router::kSoftmaxOfChosen) Softmax(weights, count);
  if (config.expert.normalized) {
    float sum = 0.0f;
    for (std::size_t i = 0; i < count; ++i) sum += weights[i];
    // The least sum that is divided by is the least normal F16, as in the models' own code.
    sum = std::max(sum, 6.103515625e-5f);
    for (std::size_t i = 0; i < count; ++i) weights[i] /= sum;
  }
  if (config.expert.scale != 1.0f) Scale(config.expert.scale, count, weights);
}

// Which experts each token runs, and with which weights: the router reads scratch.normalized; its scores are multiplied by
// `scale`.
template <class FormatList, class Spec>
HWY_INLINE void Route(const Spec& spec, const LayerWeights& layer, float scale, std::size_t tokens,
                      const LayerAdapters& adapters, const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const ExpertScratch& experts = scratch.experts;
  const std::size_t count = config.experts, used = config.experts_per_token;
  const Output scores{experts.scores, count, false};
  MultiplyChanged<FormatList>(layer.router.type, layer.router.data, layer.router_bias, TensorRole::kRouter, count, spec.dim(),
                              scratch.normalized, tokens, adapters, scores, executor);
  if (scale != 1.0f) Scale(scale, tokens * count, experts.scores);
  for (std::size_t t = 0; t < tokens; ++t) {
    std::uint32_t* const chosen = experts.chosen + t * used;
    float* const weights = experts.weights + t * used;
    ChooseExperts(config, experts.scores + t * count, layer.selection_bias, chosen, weights);
    for (std::size_t i = 0; layer.expert_scale != nullptr && i < used; ++i) weights[i] *= layer.expert_scale[chosen[i]];
  }
}

// out += the chosen experts of every token, and the network that all tokens use.  out: [tokens, dim]
template <class FormatList, class Spec>
HWY_NOINLINE void RunExperts(const Spec& spec, const LayerWeights& layer, std::size_t tokens, const LayerAdapters& adapters,
                             const Scratch& scratch, float* out, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const ExpertScratch& experts = scratch.experts;
  const std::size_t dim = config.dim, count = config.experts, used = config.experts_per_token;
  const NetworkWeights network = ExpertNetwork(layer);
  const ActivationKinds kinds = NetworkKinds(spec, network);
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
      float* to = experts.input.values + m * experts.input.stride;
      std::copy(from, from + dim, to);
      if (config.expert.scales_input) Scale(experts.member_weights[m], dim, to);
    }
    QuantizeForProduct(kinds, dim, members, experts.input, executor);
    RunNetwork<FormatList>(spec, network, e, spec.expert_ffn_dim(), experts.input, members,
                           adapters.ForExpert(e, {experts.members, members}), scratch, Output{experts.output, dim, false},
                           executor);
    for (std::size_t m = 0; m < members; ++m) {
      const float weight = config.expert.scales_input ? 1.0f : experts.member_weights[m];
      AddScaled(experts.output + m * dim, weight, dim, out + experts.members[m] * dim);
    }
  }
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.expert.shared_ffn_dim != 0; })) {
    if (config.expert.shared_ffn_dim == 0) return;
    RunNetwork<FormatList>(spec, SharedNetwork(layer), 0, spec.shared_ffn_dim(), scratch.normalized, tokens, adapters, scratch,
                           Output{experts.output, dim, false}, executor);
    for (std::size_t t = 0; t < tokens; ++t) {
      float weight = 1.0f;
      if (config.expert.shared_gate) {
        weight = 1.0f / (1.0f + std::exp(-Dot(scratch.normalized.values + t * scratch.normalized.stride,
                                              layer.shared_router, dim)));
      }
      AddScaled(experts.output + t * dim, weight, dim, out + t * dim);
    }
  }
}

// out = post_dense_norm(out) + post_expert_norm(experts(expert_norm(residual))), where `out` is what the dense network of the
// same layer gave; the router reads router_norm(residual) / sqrt(dim). Source: Gemma 4's reference code.
template <class FormatList, class Spec>
HWY_NOINLINE void AddExpertsBeside(const Spec& spec, const LayerWeights& layer, std::size_t tokens,
                                   const LayerAdapters& adapters, const Scratch& scratch, float* out, ExecutorRef executor) {
  const auto dim = spec.dim();
  float* const sum = scratch.experts.sum;
  const auto normalize = [&](const float* norm, ActivationKinds kinds) HWY_ATTR {
    NormalizeRows(spec, scratch.residual, norm, nullptr, tokens, kinds, scratch.normalized, executor);
  };
  normalize(layer.router_norm, KindsFor(layer.router));
  Route<FormatList>(spec, layer, 1.0f / std::sqrt(static_cast<float>(std::size_t{dim})), tokens, adapters, scratch, executor);
  normalize(layer.expert_norm, NetworkKinds(spec, ExpertNetwork(layer)));
  std::fill_n(sum, tokens * dim, 0.0f);
  RunExperts<FormatList>(spec, layer, tokens, adapters, scratch, sum, executor);
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    for (std::size_t t = begin; t < end; ++t) {
      float* const row = out + t * dim;
      NormalizeRow(spec, row, layer.post_dense_norm, nullptr, dim, row);
      NormalizeRow(spec, sum + t * dim, layer.post_expert_norm, nullptr, dim, sum + t * dim);
      AddResidual(sum + t * dim, dim, row);
    }
  });
}

// residual (or the branch) += network(norm(residual)).
template <class FormatList, class Spec>
HWY_INLINE void AddFeedForward(const Spec& spec, const LayerWeights& layer, std::size_t index, std::size_t tokens,
                               const LayerAdapters& adapters, const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const bool has_experts = config.HasExperts(index), beside = has_experts && config.expert.beside_dense;
  ActivationKinds kinds;
  if (has_experts && !beside) {
    kinds = static_cast<ActivationKinds>(NetworkKinds(spec, ExpertNetwork(layer)) | KindsFor(layer.router));
    if (config.expert.shared_ffn_dim != 0) kinds |= NetworkKinds(spec, SharedNetwork(layer));
  } else {
    kinds = NetworkKinds(spec, DenseNetwork(config, layer, index));
  }
  NormalizeRows(spec, scratch.residual, layer.ffn_norm, layer.ffn_norm_bias, tokens, kinds, scratch.normalized, executor);
  // In parallel with attention, whose result waits in the branch.
  Output out = config.parallel_residual ? Output{scratch.residual, config.dim, true} : BranchOutput(spec, scratch);
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.experts != 0; })) {
    if (has_experts && !beside) {
      Route<FormatList>(spec, layer, 1.0f, tokens, adapters, scratch, executor);
      if (!out.accumulate) std::fill_n(out.data, tokens * config.dim, 0.0f);
      RunExperts<FormatList>(spec, layer, tokens, adapters, scratch, out.data, executor);
      return;
    }
  }
  const auto run_dense = [&](auto ffn_dim) HWY_ATTR {
    RunNetwork<FormatList>(spec, DenseNetwork(config, layer, index), 0, ffn_dim, scratch.normalized, tokens, adapters, scratch,
                           out, executor);
  };
  if constexpr (!Spec::kIsStatic) {
    run_dense(DynamicExtent{config.wide_layers.Has(index) ? config.wide_ffn_dim : config.ffn_dim});
  } else if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.wide_ffn_dim != 0; })) {
    config.wide_layers.Has(index) ? run_dense(spec.wide_ffn_dim()) : run_dense(spec.ffn_dim());
  } else {
    run_dense(spec.ffn_dim());
  }
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.experts != 0 && c.expert.beside_dense; })) {
    if (beside) AddExpertsBeside<FormatList>(spec, layer, tokens, adapters, scratch, out.data, executor);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_FEED_FORWARD_INL_HPP_
