// Models with dimensions known to the compiler, for the tests.
#include "tests/support/test_model.hpp"

namespace inlay_test {
namespace {

using inlay::Formats;
using enum inlay::WeightType;

template <const inlay::ModelConfig& kConfig, class FormatList>
StaticModelEntry Entry() {
  using Model = inlay::Model<kConfig, FormatList, inlay::AllKvTypes>;
  return {&kConfig, {FormatList::kList.begin(), FormatList::kList.end()}, TestModelOf<Model>::Make, Model::Plan};
}

}  // namespace

std::vector<StaticModelEntry> StaticModels() {
  return {Entry<kNarrowConfig, Formats<kF32, kF16, kBF16>>(),
          Entry<kOddConfig, Formats<kF32>>(),
          Entry<kBlockConfig, Formats<kQ8_0, kQ4_0, kQ4_1, kQ5_0, kQ5_1>>(),
          Entry<kSuperBlockConfig, Formats<kQ4_K, kQ5_K, kQ6_K>>(),
          Entry<kExpertConfig, Formats<kF32, kQ8_0>>()};
}

inlay::Result<std::unique_ptr<TestModel>> MakeHalfCacheModel(const ModelParts& parts) {
  return TestModelOf<inlay::BasicModel<inlay::DynamicSpec, Formats<kF32>, inlay::KvTypes<inlay::KvType::kF16>>>::Make(parts);
}

}  // namespace inlay_test
