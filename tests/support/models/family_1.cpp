// Static models of families, for the tests.
#include "tests/support/family_models.hpp"

namespace inlay_test {

std::vector<FamilyModel> FamilyModels1() {
  using namespace family;
  return {FamilyModelOf<kMistral>(), FamilyModelOf<kLlama4Text>(), FamilyModelOf<kQwen2Dense>(),
          FamilyModelOf<kQwen3Dense>(), FamilyModelOf<kQwen3Experts>()};
}

}  // namespace inlay_test
