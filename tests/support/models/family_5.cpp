// Static models of families, for the tests.
#include "tests/support/family_models.hpp"

namespace inlay_test {

std::vector<FamilyModel> FamilyModels5() {
  using namespace family;
  return {FamilyModelOf<kGemmaThreeN>(), FamilyModelOf<kGemmaFour>(), FamilyModelOf<kGemmaFourExperts>(),
          FamilyModelOf<kNomicExperts>()};
}

}  // namespace inlay_test
