// Static models of families, for the tests.
#include "tests/support/family_models.hpp"

namespace inlay_test {

std::vector<FamilyModel> FamilyModels2() {
  using namespace family;
  return {FamilyModelOf<kPhi>(), FamilyModelOf<kGemma1>(), FamilyModelOf<kGemmaTwo>(), FamilyModelOf<kGemmaThree>(),
          FamilyModelOf<kSmol>()};
}

}  // namespace inlay_test
