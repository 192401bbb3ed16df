// The forward pass for one target. dispatch/model.hpp has Highway include this file once for each.

#include <cstddef>
#include <span>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/dispatch/forward_on.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/model/forward-inl.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_DISPATCH_TARGETS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_DISPATCH_TARGETS_INL_HPP_
#undef INLAY_DISPATCH_TARGETS_INL_HPP_
#else
#define INLAY_DISPATCH_TARGETS_INL_HPP_
#endif

INLAY_BEGIN_NAMESPACE
namespace detail {

template <>
struct ForwardOn<HWY_TARGET> {
  static constexpr bool kCompiled = true;

  template <class FormatList, class KvList, class Spec>
  static std::size_t Run(const Spec& spec, const ModelWeights& weights, std::span<const SequenceInput> sequences,
                         std::size_t tokens, const Scratch& scratch, double magnitude, PassResult result,
                         ExecutorRef executor) {
    return HWY_NAMESPACE::ForwardPass<FormatList, KvList>(spec, weights, sequences, tokens, scratch, magnitude, result,
                                                          executor);
  }
};

}  // namespace detail
INLAY_END_NAMESPACE

#endif  // toggle guard
