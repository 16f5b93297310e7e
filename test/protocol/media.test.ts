import { mediaServingContract } from '../contracts/media-serving.ts';

mediaServingContract('files', () => ({}));
