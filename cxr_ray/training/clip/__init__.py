"""Fine-tuning of BiomedCLIP."""
