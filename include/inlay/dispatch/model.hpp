// Models that choose their code by the processor they run on: one program for every x86-64 machine, from SSE4 to AVX-512
// with VNNI. Elsewhere there is one level, and these are the models of model/model.hpp.
//
// Opt-in, for one file of a program: it compiles the forward pass once for each level, which takes as many times as long.
// That file includes this header before any other of inlay (the kernels are compiled where they are first included), and
// needs no -march; the rest of the program need not know which class the model is of.
// Define HWY_DISABLED_TARGETS (see Highway) before to leave levels out.
#ifndef INLAY_DISPATCH_MODEL_HPP_
#define INLAY_DISPATCH_MODEL_HPP_

#include "inlay/dispatch/set_up.hpp"

#include <cstddef>
#include <span>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/dispatch/cpu_level.hpp"
#include "inlay/dispatch/forward_on.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "inlay/dispatch/targets-inl.hpp"
#include <hwy/foreach_target.h>

#include "inlay/dispatch/targets-inl.hpp"
#include "inlay/model/model.hpp"

INLAY_BEGIN_NAMESPACE

// The forward pass of the highest level that both the program and the processor have.
class DispatchedForward {
 public:
  DispatchedForward() {
    for (const CpuLevel level : kCpuLevels) {
      if (IsAvailable(level)) level_ = level;
    }
  }

  bool IsAvailable(CpuLevel level) const { return IsCompiled(level) && level <= detected_; }
  CpuLevel level() const { return level_; }

  // From now on code of this level. Sessions go on: their memory is the same for all levels. Float results may differ in the
  // last bits, since levels below AVX2 round products and sums apart. kUnsupported: the program or the processor lacks it.
  Result<void> Use(CpuLevel level) {
    if (!IsAvailable(level)) {
      return Fail(ErrorCode::kUnsupported, "CPU level", "\"", Name(level),
                  "\" is not available; this program and machine have \"", Name(DispatchedForward().level()),
                  "\" and below");
    }
    level_ = level;
    return {};
  }

  // One indirect call per pass.
  template <class FormatList, class KvList, class Spec>
  std::size_t Run(const Spec& spec, const ModelWeights& weights, std::span<const SequenceInput> sequences,
                  std::size_t tokens, const Scratch& scratch, double magnitude, PassResult result,
                  ExecutorRef executor) const {
    const auto run = [&]<class Target>() {
      if constexpr (Target::kCompiled) {
        return Target::template Run<FormatList, KvList>(spec, weights, sequences, tokens, scratch, magnitude, result,
                                                        executor);
      } else {
        INLAY_ASSERT(false);
        return std::size_t{0};
      }
    };
    switch (level_) {
      case CpuLevel::kBaseline: return run.template operator()<Baseline>();
#if HWY_ARCH_X86
      case CpuLevel::kSse4: return run.template operator()<detail::ForwardOn<HWY_SSE4>>();
      case CpuLevel::kAvx2: return run.template operator()<detail::ForwardOn<HWY_AVX2>>();
      case CpuLevel::kAvx512: return run.template operator()<detail::ForwardOn<HWY_AVX3>>();
#else
      default: break;
#endif
    }
    return 0;
  }

 private:
  using Baseline = detail::ForwardOn<HWY_STATIC_TARGET>;

  static constexpr bool IsCompiled(CpuLevel level) {
    switch (level) {
      case CpuLevel::kBaseline: return true;
#if HWY_ARCH_X86
      case CpuLevel::kSse4: return detail::ForwardOn<HWY_SSE4>::kCompiled;
      case CpuLevel::kAvx2: return detail::ForwardOn<HWY_AVX2>::kCompiled;
      case CpuLevel::kAvx512: return detail::ForwardOn<HWY_AVX3>::kCompiled;
#else
      default: break;
#endif
    }
    return false;
  }

  CpuLevel detected_ = DetectCpuLevel();
  CpuLevel level_ = CpuLevel::kBaseline;
};

// As Model and AnyModel; forward() has the level.
template <ModelConfig kConfig, class FormatList, class KvList = CommonKvTypes>
using DispatchedModel = BasicModel<StaticSpec<kConfig>, FormatList, KvList, DispatchedForward>;
using DispatchedAnyModel = BasicModel<DynamicSpec, AllFormats, AllKvTypes, DispatchedForward>;

INLAY_END_NAMESPACE

#endif  // INLAY_DISPATCH_MODEL_HPP_
